"""Splitting rows off a data set for validation, so that equal texts never stand on both sides."""

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrow import select_rows, values_of

if TYPE_CHECKING:
    from datasets import Dataset


def split_off(
    rows: "Dataset", part: float, column: str, most: int, seed: int = 0, covered: str | None = None
) -> tuple["Dataset", "Dataset"]:
    """Draws rows for validation; rows that are equal in `column` stay together.

    The draw depends on the seed and on the values of the column alone: each value gets a number by hashing, and those
    with the smallest numbers are taken. So a value that is added to the data moves few others. A value with more rows
    than are wanted is passed over.

    Args:
        rows: the rows; they keep their order on both sides.
        part: the part of the rows that is wanted, in (0, 1). Because equal values stay together, fewer rows can come
            out, and none where every value has more rows.
        column: the column whose equal values stay on one side, such as the sentences to translate.
        most: the greatest number of rows that are drawn.
        seed: the seed of the draw.
        covered: a column with labels, or lists of labels, each of which stays among the rows that remain: what is
            drawn has no label that cannot be learnt. A column of fractions has values, not labels, and is left alone.

    Returns:
        The rows that remain, and the rows that are drawn; both are `rows` itself, or empty, where nothing is drawn.

    Raises:
        ValueError: `part` is outside (0, 1), or `most` is negative.
    """
    if not 0 < part < 1:
        raise ValueError(f"the part of the rows that is split off must lie in (0, 1), got {part}")
    if most < 0:
        raise ValueError(f"the greatest number of rows that are split off must be at least 0, got {most}")
    wanted = min(int(part * len(rows)), most)
    if not wanted:
        return rows, rows.select([])
    numbers = hashes(rows, column, seed)
    drawn = numbered(numbers, smallest(numbers, wanted))
    if covered is not None:
        taken = np.unique(numbers[drawn[~are_covered(rows, covered, drawn)]])
        drawn = drawn[~np.isin(numbers[drawn], taken)]
    if not len(drawn):
        return rows, rows.select([])
    remains = np.ones(len(rows), dtype=bool)
    remains[drawn] = False
    return select_rows(rows, remains), rows.select(drawn)


def smallest(numbers: np.ndarray, wanted: int) -> list[int]:
    """Returns the smallest of the numbers that belong to `wanted` rows at most, all together.

    A number of more rows is passed over. There are at most `wanted` others, so only few numbers are looked at.
    """
    in_order = np.sort(numbers)
    taken: list[int] = []
    start = total = 0
    while start < len(in_order):
        stop = int(np.searchsorted(in_order, in_order[start], side="right"))
        if stop - start <= wanted:
            total += stop - start
            if total > wanted:
                break
            taken.append(in_order[start])
        start = stop
    return taken


def numbered(numbers: np.ndarray, taken: list[int]) -> np.ndarray:
    """Returns the places, in their order, of the numbers that are among `taken`."""
    if not taken:
        return np.zeros(0, dtype=np.int64)
    near = np.flatnonzero(numbers <= max(taken))  # `taken` are among the smallest
    return near[np.isin(numbers[near], taken)]


def are_covered(rows: "Dataset", column: str, drawn: np.ndarray) -> np.ndarray:
    """Says of each drawn row whether every label in it is also in a row that is not drawn; shape (drawn rows,)."""
    others = np.ones(len(rows), dtype=bool)
    others[drawn] = False
    known: set[Any] = set()
    for value, is_other in zip(values_of(rows, column), others, strict=True):
        if is_other:
            known |= labels_in(value)
    of_drawn = values_of(rows.select(drawn), column)
    return np.fromiter((labels_in(value) <= known for value in of_drawn), dtype=bool, count=len(drawn))


def labels_in(value: Any) -> set[Any]:
    """Returns the labels of a row: one, those of a list, or none where the value is a fraction."""
    return {label for label in (value if isinstance(value, list) else [value]) if not isinstance(label, float)}


def hashes(rows: "Dataset", column: str, seed: int) -> np.ndarray:
    """Returns a number for the value of each row; equal values have equal numbers, shape (rows,).

    The values are read a chunk at a time, so that a large data set is never in memory.
    """
    key = seed.to_bytes(8, "little")
    numbers = (number_of(value, key) for value in values_of(rows, column))
    return np.fromiter(numbers, dtype=np.uint64, count=len(rows))


def number_of(value: Any, key: bytes) -> int:
    """Returns 64 bits of the hash of a value: of a text, or of a list or number as JSON writes it."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    # A lone surrogate has no UTF-8; it is hashed as it is.
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest(), "little")
