"""Leaving out rows without text on one side, and counting rows."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .formats.rows import NAMED, Row, counted, named


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
    """Keeps the rows that have text on every side, and counts all rows.

    Args:
        column_options: the options that name the columns, such as `source_column`.
        empty: what happens to the other rows: `error` or `drop`.
    """

    def __init__(self, column_options: Sequence[str], empty: str) -> None:
        self.sides = tuple(option.removesuffix("_column") for option in column_options)
        self.empty, self.blank_is_empty = empty, len(self.sides) > 1
        self.rows = 0
        self.hashes = array("q")  # hashes of the rows that are kept, 8 bytes each, to count repeated rows
        self.numbers: dict[str, int] = {}  # the number of empty rows in each file
        self.places: dict[str, list[str]] = {}  # the places of the first empty rows in each file

    def kept(self, origins: Iterable[tuple[str, str, Iterable[Row]]]) -> Iterator[tuple[str | None, ...]]:
        """The rows that are kept."""
        for origin, word, rows in origins:
            for place, values in rows:
                self.rows += 1
                if None in values or (self.blank_is_empty and not all(map(str.strip, values))):  # type: ignore[arg-type]
                    self.note(origin, word, place, values)
                else:
                    self.hashes.append(hash(values))
                    yield values

    def note(self, origin: str, word: str, place: int, values: Sequence[str | None]) -> None:
        """Counts an empty row, and remembers its place if it is one of the first in its file."""
        self.numbers[origin] = self.numbers.get(origin, 0) + 1
        if len(places := self.places.setdefault(origin, [])) <= NAMED:
            lacking = [side for side, value in zip(self.sides, values, strict=True) if not (value or "").strip()]
            places.append(f"{word} {place} (no {' and no '.join(lacking)})")

    def complaints(self) -> list[str]:
        """A sentence about each file that has empty rows; none if these are dropped."""
        if self.empty == "drop":
            return []
        where = " on one side" if len(self.sides) > 1 else ""
        return [
            f"{origin}: {counted(self.numbers[origin])} no text{where}: {named(places)}"
            for origin, places in self.places.items()
        ]

    def counts(self) -> Counts:
        """The numbers of rows so far."""
        repeated = len(self.hashes) - len(np.unique(np.frombuffer(self.hashes, dtype=np.int64)))
        return Counts(self.rows, sum(self.numbers.values()), repeated)
