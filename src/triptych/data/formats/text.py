"""Reading plain text, a sentence on each line."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from .lines import content, text_lines
from .rows import Columns, Row

if TYPE_CHECKING:
    from ..readers import FileOptions


def read_text(path: str, columns: Columns, options: "FileOptions") -> Iterator[Row]:
    """The lines of a file, as a table with the one column `text`."""
    for option, column in columns.items():
        if column.name != "text" or column.kind != "text":
            raise ValueError(
                f"{path} has no column {column.name!r}: a plain text file has one column, 'text' (--{option}); if it "
                "is no plain text, name its format with --file_format"
            )
    for number, line in text_lines(path):
        yield number, (content(line),) * len(columns)


def read_parallel(source: str, target: str, options: "FileOptions") -> Iterator[Row]:
    """Line n of the first file together with line n of the second.

    Raises:
        ValueError: the files have different numbers of lines, or look like tables.
    """
    counts = [0, 0]
    for pair in zip_longest(text_lines(source), text_lines(target)):
        for side, line in enumerate(pair):
            counts[side] += line is not None
        sides = tuple(content(line[1]) for line in pair if line is not None)
        if counts == [1, 1] and options.file_format is None and any("\t" in side for side in sides):
            raise ValueError(
                f"{source} and {target}: line 1 holds a tab. Two files are read as plain text where their names "
                "do not say otherwise; if these are tables, give --file_format tsv, if not, --file_format text"
            )
        if len(sides) == 2:
            yield counts[0], sides
    if counts[0] != counts[1]:
        raise ValueError(
            f"{source} has {counts[0]} lines, but {target} has {counts[1]}; line n of the one must be the "
            "translation of line n of the other"
        )
