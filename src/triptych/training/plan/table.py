"""The table of sizes.json: which model, and which training, suit how many tokens and how much computing time."""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ...data.quantities import counted

DAY = 1440.0  # minutes: what a run is taken to have where no limit in minutes is given


@functools.cache
def table() -> dict[str, Any]:
    """Returns what sizes.json holds."""
    text = (resources.files(__package__) / "sizes.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        number: from 1, within its table.
        least: quantity → the smallest value for which the row is chosen.
        options: option or field of the configuration → value.
    """

    number: int
    least: Mapping[str, float]
    options: Mapping[str, Any]

    def fits(self, quantities: Mapping[str, float]) -> bool:
        """Says whether there is enough of every quantity."""
        return all(quantities[name] >= least for name, least in self.least.items())


def rows_of(part: Mapping[str, Any]) -> list[Row]:
    """Returns the rows of one table of sizes.json: each with what is common to all of them."""
    return [
        Row(
            number,
            {name: value for name, value in row.items() if name != "options"},
            {**part["common"], **row["options"]},
        )
        for number, row in enumerate(part["rows"], start=1)
    ]


def rows_from_nothing(family: str) -> list[Row]:
    """Returns the rows for a model with new weights, by `tokens`, `tokens_seen` and `core_minutes`.

    Args:
        family: encoder-decoder, encoder or decoder.
    """
    return rows_of(table()["from nothing"][family])


def rows_from_a_checkpoint() -> list[Row]:
    """Returns the rows for a model that is trained further, by its `hidden_size`."""
    return rows_of(table()["from a checkpoint"])


def choose(rows: Sequence[Row], quantities: Callable[[Row], Mapping[str, float]]) -> Row:
    """Returns the last row for which there is enough of every quantity; the first row needs nothing.

    Args:
        quantities: what there is for a row, by the names in `Row.least`.
    """
    return [row for row in rows if row.fits(quantities(row))][-1]


@dataclass(frozen=True)
class Resources:
    """What a run has: training data, devices and time.

    Args:
        tokens: tokens of the training data, about; None: they are a stream, of which there is always enough.
        device: the type of the devices, as torch calls it.
        processes: the number of processes.
        threads: threads of each process; they count on the CPU only.
        minutes: the limit in minutes; None: there is none, and the run is taken to have a day.
        epochs, steps: the limits in epochs and in updates; None: there is none.
    """

    tokens: int | None
    device: str
    processes: int = 1
    threads: int = 1
    minutes: float | None = None
    epochs: float | None = None
    steps: int | None = None

    @property
    def cores(self) -> float:
        """Cores of a CPU that compute about as much as the devices of this run."""
        each: dict[str, float] = table()["cores of a device"]
        return self.processes * (self.threads if self.device == "cpu" else each.get(self.device, each["cuda"]))

    @property
    def core_minutes(self) -> float:
        """The computing time: minutes, times cores."""
        return self.cores * (DAY if self.minutes is None else self.minutes)

    def quantities(self, row: Row) -> dict[str, float]:
        """Returns what there is for a row of the table for new models.

        `tokens_seen` are the tokens of all updates that the limits in epochs and updates allow.
        """
        tokens = math.inf if self.tokens is None else float(self.tokens)
        of_epochs = math.inf if self.epochs is None else self.epochs * tokens
        of_steps = math.inf if self.steps is None else float(self.steps * row.options["max_tokens"])
        return {"tokens": tokens, "core_minutes": self.core_minutes, "tokens_seen": min(of_epochs, of_steps)}

    def __str__(self) -> str:
        tokens = "a stream" if self.tokens is None else f"about {counted(self.tokens, 'tokens')}"
        what = counted(self.threads, "threads") if self.device == "cpu" else self.device
        limits = {"epochs": self.epochs, "updates": self.steps, "minutes": self.minutes}
        given = " or ".join(counted(limit, name, ",g") for name, limit in limits.items() if limit is not None)
        time = "" if self.minutes is not None else " (of at most a day)"
        computing = counted(self.core_minutes, "core-minutes", ",.0f")
        return f"{tokens} for {given}{time} on {self.processes} × {what}, {computing}"
