"""Leaving out rows that lack a value, refusing rows that contradict themselves, and counting rows."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .formats.rows import NAMED, Columns, Row, named
from .quantities import counted


@dataclass
class Counts:
    """Numbers of rows of one split.

    Attributes:
        rows: all rows that were read.
        empty: rows that were left out, because a side is empty.
        duplicates: rows that occurred before.
    """

    rows: int = 0
    empty: int = 0
    duplicates: int = 0


def told(counts: Mapping[str, Counts]) -> list[str]:
    """Lines that report rows which are left out, and rows that occur more than once."""
    left_out = [f"{split}: empty rows left out: {c.empty:,} of {c.rows:,}" for split, c in counts.items() if c.empty]
    repeated = [f"{split}: repeated rows, kept: {c.duplicates:,}" for split, c in counts.items() if c.duplicates]
    return left_out + repeated


class Sieve:
    """Keeps the rows that have a value on every side, and counts all rows.

    Args:
        columns: the columns by the options that name them, such as `source_column`.
        empty: what happens to the other rows: `error` or `drop`.
        fault: says what is wrong with the values of a row (side → value), or None; such a row is an error.
    """

    def __init__(
        self, columns: Columns, empty: str, fault: Callable[[dict[str, Any]], str | None] | None = None
    ) -> None:
        self.sides = tuple(option.removesuffix("_column") for option in columns)
        self.empty, self.blank_is_empty, self.fault = empty, len(self.sides) > 1, fault
        self.kinds = [column.values for column in columns.values()]
        self.only_texts = all(column.kind == "text" for column in columns.values())
        self.rows = 0
        self.hashes = array("q")  # hashes of the rows that are kept, 8 bytes each, to count repeated rows
        self.numbers: dict[str, int] = {}  # the number of empty rows in each file
        self.places: dict[str, list[str]] = {}  # the places of the first empty rows in each file

    def kept(self, origins: Iterable[tuple[str, str, Iterable[Row]]]) -> Iterator[tuple[Any, ...]]:
        """The rows that are kept.

        Raises:
            ValueError: a row has a fault; the message names its file and place.
        """
        for origin, word, rows in origins:
            for place, values in rows:
                self.rows += 1
                if None in values or (self.blank_is_empty and self.lacking(values)):
                    self.note(origin, word, place, values)
                    continue
                if self.fault and (fault := self.fault(dict(zip(self.sides, values, strict=True)))):
                    raise ValueError(f"{origin}: {word} {place}: {fault}")
                self.hashes.append(hash(values if self.only_texts else repr(values)))
                yield values

    def lacking(self, values: Sequence[Any]) -> list[str]:
        """The sides on which there is nothing."""
        return [
            side
            for side, value, kind in zip(self.sides, values, self.kinds, strict=True)
            if value is None or kind.is_empty(value)
        ]

    def note(self, origin: str, word: str, place: int, values: Sequence[Any]) -> None:
        """Counts an empty row, and remembers its place if it is one of the first in its file."""
        self.numbers[origin] = self.numbers.get(origin, 0) + 1
        if len(places := self.places.setdefault(origin, [])) <= NAMED:
            places.append(f"{word} {place} (no {' and no '.join(self.lacking(values))})")

    def complaints(self) -> list[str]:
        """A sentence about each file that has empty rows; none if these are dropped."""
        if self.empty == "drop":
            return []
        lacking = "no text" + " on one side" * (len(self.sides) > 1) if self.only_texts else "nothing in one column"
        return [
            f"{origin}: {counted(self.numbers[origin], 'rows have', one='row has')} {lacking}: {named(places)}"
            for origin, places in self.places.items()
        ]

    def counts(self) -> Counts:
        """The numbers of rows so far."""
        hashes = np.frombuffer(self.hashes, dtype=np.int64)
        hashes.sort()  # where they are, because their order says nothing
        repeated = int(np.count_nonzero(hashes[1:] == hashes[:-1]))
        return Counts(self.rows, sum(self.numbers.values()), repeated)
