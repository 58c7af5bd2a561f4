"""The plan of a run: options that the user did not give, chosen by the table for the data, the device and the time."""

import dataclasses
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..optimizer import OPTIMIZERS
from .table import Resources, Row, choose, rows_from_a_checkpoint, rows_from_nothing, table

# A given option → the options that are not planned beside it, because they are other ways to say the same thing.
INSTEAD: dict[str, tuple[str, ...]] = {
    "warmup_steps": ("warmup_ratio",),
    "tokenizer": ("vocab_size",),
    "evaluation_steps": ("evaluation_minutes",),
    "save_steps": ("save_minutes",),
    "max_steps": ("num_train_epochs",),
    "max_minutes": ("num_train_epochs",),
}
BETWEEN = ("evaluation_minutes", "save_minutes")
ELSEWHERE = "adamw"  # the optimizer of adapters, and where that of the table is not possible
WIDTH = 84  # of the lines that tell the user the plan
# Equation (3) fixes its own peak, and counts its warm-up in updates.
NOT_WITH_NOAM = ("learning_rate", "warmup_ratio")


@dataclass(frozen=True)
class Plan:
    """What was chosen, and why.

    Attributes:
        options: option of the task or the loop, or field of the configuration → value. It holds no option that is
            given.
        reason: the quantities and the row of the table; for the user.
        recorded: what the record of a resumed run says; None: the run is new, and `options` are recorded.
    """

    options: Mapping[str, Any]
    reason: str
    recorded: Mapping[str, Any] | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What run.json holds of the plan."""
        return dict(self.options if self.recorded is None else self.recorded)

    def completed(self, arguments: Any) -> Any:
        """Returns a copy of a dataclass of options in which the planned ones have their values."""
        names = {field.name for field in dataclasses.fields(arguments) if field.init}
        return dataclasses.replace(arguments, **{k: v for k, v in self.options.items() if k in names})

    def fields(self, *arguments: Any) -> dict[str, Any]:
        """Returns the fields of the configuration: what is an option of none of these dataclasses."""
        names = {field.name for options in arguments for field in dataclasses.fields(options)}
        return {name: value for name, value in self.options.items() if name not in names}

    def __str__(self) -> str:
        values = ", ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.options.items()
        )
        return "\n".join(line for text in (self.reason, values) for line in wrapped(text))


def wrapped(text: str) -> list[str]:
    """Returns the lines of a text that is broken at spaces only."""
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False, break_long_words=False)


def given_options(*arguments: Any) -> set[str]:
    """Returns the names of the options that differ from their defaults, for a caller that has no command line."""
    return {
        field.name
        for options in arguments
        for field in dataclasses.fields(options)
        if getattr(options, field.name) != default_of(field)
    }


def default_of(field: Any) -> Any:
    """Returns the default of a field of a dataclass; where there is none, `MISSING`, which equals no value."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def make_plan(
    family: str,
    resources: Resources,
    given: Mapping[str, Any],
    hidden_size: int | None = None,
    optimizers: Collection[str] = OPTIMIZERS,
) -> Plan:
    """Chooses the options that are not given.

    Args:
        family: encoder-decoder, encoder or decoder.
        resources: data, devices and time.
        given: the options and the fields of the configuration that the user gave, with their values.
        hidden_size: the width of the checkpoint that is trained further; None: the model is new.
        optimizers: the names of those that are possible.
    """
    if hidden_size is None:
        row = choose(rows_from_nothing(family), resources.quantities)
        reason = f"{resources}: row {row.number} of the table for a new {family}"
    else:
        row = choose(rows_from_a_checkpoint(), lambda row: {"hidden_size": hidden_size})
        reason = f"a checkpoint of width {hidden_size}: row {row.number} of the table for checkpoints"
    return Plan(chosen(row, given, resources.minutes, optimizers), f"{reason} (docs/training/sizes.md)")


def chosen(row: Row, given: Mapping[str, Any], minutes: float | None, optimizers: Collection[str]) -> dict[str, Any]:
    """Returns the options of a row, without those that are given or that a given one makes needless.

    Args:
        minutes: the time of the run. If it is given, evaluations and checkpoints come after equal parts of it: after
            every epoch, they would take much of the time where the data are few.
        optimizers: the names of those that are possible.
    """
    options = dict(row.options)
    if minutes is not None:
        options |= dict.fromkeys(BETWEEN, minutes * table()["part of the time between evaluations"])
    if given.get("lora_rank") or options["optimizer"] not in optimizers:
        options["optimizer"] = ELSEWHERE
    if row.options["optimizer"] == "muon" != given.get("optimizer", options["optimizer"]):
        options["learning_rate"] *= table()["learning rate of another optimizer"]
    if given.get("lora_rank"):
        options["learning_rate"] *= table()["learning rate of adapters"]
    without = needless(given) | set(NOT_WITH_NOAM if given.get("lr_scheduler") == "noam" else ())
    return {name: value for name, value in options.items() if name not in without}


def needless(given: Collection[str]) -> set[str]:
    """Returns the options that are not planned beside the given ones: these themselves, and what they stand for."""
    return {*given, *(name for option in given for name in INSTEAD.get(option, ()))}


def recorded_plan(options: Any, given: Collection[str]) -> Plan:
    """Returns the plan that the record of a run holds, without the options that are given now.

    Args:
        options: what the record says of the plan; see `Plan.options`.
        given: the names of the options that are given. If their values are others, the run cannot be resumed, and
            says so itself.

    Raises:
        ValueError: the record holds no plan, or something that no plan says.
    """
    if options is None:
        raise ValueError(
            "the run was started with --preset, so there is no plan to continue with; give the same --preset, or name "
            "another output_dir"
        )
    types = planned_types()
    for name, value in options.items() if isinstance(options, dict) else [("plan", options)]:
        if name not in types or type(value) is not types[name]:
            raise ValueError(
                f"run.json: the plan says {name}={value!r}, which no plan says; name another output_dir, or start "
                "over with --overwrite"
            )
    without = needless(given)
    return Plan({n: v for n, v in options.items() if n not in without}, "as at the start of the run", recorded=options)


def planned_types() -> dict[str, type]:
    """Returns the type of every option that a plan can hold."""
    rows = [row for family in table()["from nothing"] for row in rows_from_nothing(family)] + rows_from_a_checkpoint()
    return {name: type(value) for row in rows for name, value in row.options.items()} | dict.fromkeys(BETWEEN, float)
