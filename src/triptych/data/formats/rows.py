"""What all readers share: the type of a row, the check that a value is text, and words of error messages."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Columns = Mapping[str, str]
"""The name of each wanted column, by the option that names it (`source_column`)."""
Row = tuple[int, tuple[str | None, ...]]
"""The place of a row, and the text in each wanted column, or None where there is none. The place is the line on which
the row begins; in parquet files and data sets it is the number of the row, from 1."""
NAMED = 5  # the number of places that a message names


def checked(value: Any, column: str, place: str) -> str | None:
    """The value, if it is text or None; raises ValueError otherwise.

    Args:
        place: what the message says before the column: the file and the line or row.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{place}: {column!r} is {value!r:.60}, not text")
    if "\0" in value:
        raise ValueError(f"{place}: {column!r} holds a NUL character; this is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{place}: {column!r} holds half of a surrogate pair, which is not a character") from None
    return value


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


def counted(rows: Sequence[object] | int) -> str:
    """The number of rows as the subject of a sentence: "1 row has", "1,002 rows have"."""
    number = rows if isinstance(rows, int) else len(rows)
    return f"{number:,} {'row has' if number == 1 else 'rows have'}"


def named(places: list[str]) -> str:
    """The first few of the places; "…" stands for the others."""
    return ", ".join(places[:NAMED]) + (", …" if len(places) > NAMED else "")
