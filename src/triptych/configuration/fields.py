"""Fields of a configuration: each has a default, one sentence of help and a check of its values."""

import dataclasses
import difflib
import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

from ..files import LARGEST_SIZE, MOST_LAYERS


def field(
    default: Any, help: str, check: Callable[[Any], None] | None = None, choices: Iterable[str] | None = None
) -> Any:
    """A dataclass field with a sentence of help, which the command line shows, and a check at every assignment.

    Args:
        choices: the words that are allowed, where the value is one of several; for the command line.
    """
    metadata: dict[str, Any] = {"help": help} | ({} if choices is None else {"choices": choices})
    if check is not None:
        metadata["validator"] = check
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: default.copy(), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def like(owner: type, name: str, default: Any) -> Any:
    """The field `name` of `owner`, help and check included, with another default."""
    inherited = {f.name: f for f in dataclasses.fields(owner)}[name]
    return dataclasses.field(default=default, metadata=dict(inherited.metadata))


def closest(name: str, known: Collection[str]) -> str | None:
    """The known name that was probably meant by `name`; None if no known name is similar."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)


def meant(name: object, known: Iterable[object]) -> str:
    """What a message adds behind a wrong name: " (did you mean bert-base?)"; empty where no known name is similar.

    Capitals, and dashes instead of underscores, make no difference.
    """
    plain = {str(word).lower().replace("-", "_"): str(word) for word in known}
    near = closest(str(name).lower().replace("-", "_"), plain)
    return "" if near is None else f" (did you mean {plain[near]}?)"


def number(
    default: Any, help: str, at_least: float | None = None, above: float | None = None, below: float | None = None
) -> Any:
    """A finite number (or None where the annotation allows it) inside the given bounds."""

    def check(value: Any) -> None:
        if value is None:
            return
        if isinstance(value, int) and value > LARGEST_SIZE:
            raise ValueError(f"must be at most {LARGEST_SIZE}, got {value!r}")
        if isinstance(value, float) and math.isinf(value):
            raise ValueError(f"must be finite, got {value!r}")
        if at_least is not None and not value >= at_least:
            raise ValueError(f"must be at least {at_least}, got {value!r}")
        if above is not None and not value > above:
            raise ValueError(f"must be greater than {above}, got {value!r}")
        if below is not None and not value < below:
            raise ValueError(f"must be less than {below}, got {value!r}")

    return field(default, help, check)


def whole_number(at_least: int, at_most: int) -> Callable[[Any], None]:
    """The check that a value is None or a whole number inside the given bounds."""

    def check(value: Any) -> None:
        if value is None:
            return
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
            raise ValueError(f"must be a whole number of at least {at_least}, got {value!r}")
        if value > at_most:
            raise ValueError(f"must be at most {at_most}, got {value!r}")

    return check


def size(default: Any, help: str, at_most: int = LARGEST_SIZE) -> Any:
    """A whole number from 1 to `at_most` (or None where the annotation allows it)."""
    return field(default, help, whole_number(1, at_most))


def probability(default: Any, help: str) -> Any:
    """A number in [0, 1)."""
    return number(default, help, at_least=0, below=1)


def word(default: str, help: str, choices: Iterable[str]) -> Any:
    """One of the given words. A word that is added to a table of words later is allowed as well."""

    def check(value: Any) -> None:
        if value not in tuple(choices):
            raise ValueError(
                f"unknown choice {value!r}{meant(value, choices)} (a word that a program adds is known only after its "
                f"code has run); choose one of: {', '.join(choices)}"
            )

    shown = ", ".join(choices) if len(tuple(choices)) < 9 else "the names in transformers' ACT2FN"
    return field(default, f"{help} One of: {shown}.", check, choices)


def pattern(help: str) -> Any:
    """None, or a list in which each entry is "full" or a width. All widths are the same."""

    def check(value: Any) -> None:
        widths = set(value or ()) - {"full"}
        if value is not None and not value:
            raise ValueError('must have an entry ("full" or a width), or be None')
        if value is not None and len(value) > MOST_LAYERS:
            raise ValueError(f"must have at most {MOST_LAYERS} entries, got {len(value)}")
        if any(not isinstance(width, int) or isinstance(width, bool) or width < 1 for width in widths):
            raise ValueError(f'entries must be "full" or a width of at least 1, got {value!r}')
        if len(widths) > 1:
            raise ValueError(f"all banded layers have one width, got {sorted(widths)}")
        if any(width > LARGEST_SIZE for width in widths):
            raise ValueError(f"a width must be at most {LARGEST_SIZE}, got {value!r}")

    return field(None, help, check)
