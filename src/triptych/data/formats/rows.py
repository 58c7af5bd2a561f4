"""What all readers share: the type of a row, how its values are read, and words of error messages."""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from .kinds import Column, WrongValue

Columns = Mapping[str, Column]
"""Each wanted column, by the option that names it (`source_column`)."""
Row = tuple[int, tuple[Any, ...]]
"""The place of a row, and the value in each wanted column (see `KINDS`), or None where there is none. The place is the
line on which the row begins; in parquet files and data sets it is the number of the row, from 1."""
NAMED = 5  # the number of places that a message names


def typed(columns: Mapping[str, Column | str]) -> dict[str, Column]:
    """The wanted columns; where only the name of a column is given, it holds texts.

    Raises:
        ValueError: two options name the same column.
    """
    wanted = {option: Column(column) if isinstance(column, str) else column for option, column in columns.items()}
    for (first, one), (second, other) in combinations(wanted.items(), 2):
        if one.name == other.name:
            raise ValueError(f"{first} and {second} are both {one.name!r}; each needs a column of its own")
    return wanted


def checked(value: Any, column: Column, place: str) -> Any:
    """What the kind of the column makes of a value that has a type; None stays None.

    Args:
        place: what the message says before the column: the file and the line or row.

    Raises:
        ValueError: the value is not of this kind.
    """
    if value is None:
        return None
    try:
        return column.values.read(value)
    except WrongValue as error:
        raise ValueError(f"{place}: {column.name!r} {error}") from None


def parsed(field: str, column: Column, path: str, line: int) -> Any:
    """What the kind of the column makes of the text of a field; None if the field is blank, except for texts.

    Raises:
        ValueError: the value is not of this kind.
    """
    if column.kind == "text":
        return field
    if not field.strip():
        return None
    try:
        return column.values.parse(field)
    except WrongValue as error:
        raise ValueError(f"{path}: line {line}: {column.name!r} {error}") from None


def missing_column(place: str, column: str, option: str, names: Iterable[str], more: str = "") -> ValueError:
    """The error for a column that is not there.

    Args:
        place: the file, data set or line that does not have it.
        option: the option by which the user names the column.
        names: the columns that are there.
        more: a further remedy.
    """
    known = ", ".join(map(repr, names))
    return ValueError(f"{place} has no column {column!r}; it has {known}. Name the right one with --{option}{more}")


def named(places: list[str]) -> str:
    """The first few of the places; "…" stands for the others."""
    return ", ".join(places[:NAMED]) + (", …" if len(places) > NAMED else "")
