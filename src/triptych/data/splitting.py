"""Splitting rows off a data set for validation, so that equal texts never stand on both sides."""

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset

CHUNK = 10_000  # the number of rows that are in memory at a time


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
    numbers, group = np.unique(hashes(rows, column, seed), return_inverse=True)
    sizes = np.bincount(group, minlength=len(numbers))
    fitting = sizes <= wanted  # a value with more rows is passed over
    drawn = fitting & (np.cumsum(np.where(fitting, sizes, 0)) <= wanted)
    is_drawn = drawn[group]
    if covered is not None and is_drawn.any():
        drawn[group[is_drawn & ~is_covered(rows, covered, is_drawn)]] = False
        is_drawn = drawn[group]
    if not is_drawn.any():
        return rows, rows.select([])
    return rows.select(np.flatnonzero(~is_drawn)), rows.select(np.flatnonzero(is_drawn))


def is_covered(rows: "Dataset", column: str, is_drawn: np.ndarray) -> np.ndarray:
    """Says of each row whether every label in it is also in a row that is not drawn; shape (rows,)."""
    per_row = [
        labels_in(value)
        for table in rows.select_columns([column]).with_format("arrow").iter(batch_size=CHUNK)
        for value in table[column].to_pylist()
    ]
    known = set().union(*(labels for labels, drawn in zip(per_row, is_drawn, strict=True) if not drawn))
    return np.fromiter((labels <= known for labels in per_row), dtype=bool, count=len(per_row))


def labels_in(value: Any) -> set[Any]:
    """Returns the labels of a row: one, those of a list, or none where the value is a fraction."""
    return {label for label in (value if isinstance(value, list) else [value]) if not isinstance(label, float)}


def hashes(rows: "Dataset", column: str, seed: int) -> np.ndarray:
    """Returns a number for the value of each row; equal values have equal numbers, shape (rows,).

    The values are read a chunk at a time, so that a large data set is never in memory.
    """
    key = seed.to_bytes(8, "little")
    chunks = [
        np.fromiter((number_of(value, key) for value in table[column].to_pylist()), dtype=np.uint64)
        for table in rows.select_columns([column]).with_format("arrow").iter(batch_size=CHUNK)
    ]
    return np.concatenate(chunks)


def number_of(value: Any, key: bytes) -> int:
    """Returns 64 bits of the hash of a value: of a text, or of a list or number as JSON writes it."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    # A lone surrogate has no UTF-8; it is hashed as it is.
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest(), "little")
