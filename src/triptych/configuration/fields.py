"""Fields of a configuration: a default, one sentence of help and the values that are allowed."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any


def field(default: Any, help: str, check: Callable[[Any], None] | None = None) -> Any:
    """A dataclass field with a sentence for the reader (and the command line) and a check made at every assignment."""
    metadata: dict[str, Any] = {"help": help}
    if check is not None:
        metadata["validator"] = check
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: default.copy(), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def like(owner: type, name: str, default: Any) -> Any:
    """The field `name` of `owner`, help and check included, with another default."""
    inherited = {f.name: f for f in dataclasses.fields(owner)}[name]
    return dataclasses.field(default=default, metadata=dict(inherited.metadata))


def number(
    default: Any, help: str, at_least: float | None = None, above: float | None = None, below: float | None = None
) -> Any:
    """A number (or None where the annotation allows it) inside the given bounds."""

    def check(value: Any) -> None:
        if value is None:
            return
        if at_least is not None and not value >= at_least:
            raise ValueError(f"must be at least {at_least}, got {value!r}")
        if above is not None and not value > above:
            raise ValueError(f"must be greater than {above}, got {value!r}")
        if below is not None and not value < below:
            raise ValueError(f"must be less than {below}, got {value!r}")

    return field(default, help, check)


def size(default: Any, help: str) -> Any:
    """A whole number of at least one (or None where the annotation allows it)."""

    def check(value: Any) -> None:
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"must be a whole number of at least 1, got {value!r}")

    return field(default, help, check)


def probability(default: Any, help: str) -> Any:
    """A number in [0, 1)."""
    return number(default, help, at_least=0, below=1)


def word(default: str, help: str, choices: Iterable[str]) -> Any:
    """One of the given words."""
    choices = tuple(choices)

    def check(value: Any) -> None:
        if value not in choices:
            raise ValueError(f"unknown choice {value!r}; choose one of: {', '.join(choices)}")

    return field(default, f"{help} One of: {', '.join(choices) if len(choices) < 9 else 'ACT2FN names'}.", check)


def pattern(help: str) -> Any:
    """None, or a list of which each entry is "full" or one and the same width."""

    def check(value: Any) -> None:
        widths = set(value or ()) - {"full"}
        if value is not None and not value:
            raise ValueError('must have an entry ("full" or a width), or be None')
        if any(not isinstance(width, int) or isinstance(width, bool) or width < 1 for width in widths):
            raise ValueError(f'entries must be "full" or a width of at least 1, got {value!r}')
        if len(widths) > 1:
            raise ValueError(f"all banded layers have one width, got {sorted(widths)}")

    return field(None, help, check)
