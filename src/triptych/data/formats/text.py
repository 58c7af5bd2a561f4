"""Reading plain text: a sentence or a document on each line, or documents between blank lines."""

from collections.abc import Callable, Iterator
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING

from ..quantities import counted
from .lines import content, text_lines
from .rows import Columns, Row

if TYPE_CHECKING:
    from ..readers import FileOptions


def lines_of(path: str) -> Iterator[tuple[int, str]]:
    """The number and the text of each line."""
    for number, line in text_lines(path):
        yield number, content(line)


def blocks_of(path: str) -> Iterator[tuple[int, str]]:
    """Each run of lines that are not blank, with its line ends, and the number of its first line."""
    for has_text, block in groupby(lines_of(path), key=lambda line: bool(line[1].strip())):
        if has_text:
            (first, text), *others = block
            yield first, "\n".join([text, *(line for _, line in others)])


DOCUMENTS: dict[str, Callable[[str], Iterator[tuple[int, str]]]] = {"lines": lines_of, "blank_lines": blocks_of}
"""What reads the texts of a file, by the word of the option `documents`."""


def read_text(path: str, columns: Columns, options: "FileOptions") -> Iterator[Row]:
    """The texts of a file, as a table with the one column `text`; `options.documents` says where a text ends."""
    for option, column in columns.items():
        if column.name != "text" or column.kind != "text":
            raise ValueError(
                f"{path} has no column {column.name!r}: a plain text file has one column, 'text' (--{option}); if it "
                "is no plain text, name its format with --file_format"
            )
    for number, text in DOCUMENTS[options.documents](path):
        yield number, (text,) * len(columns)


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
            f"{source} has {counted(counts[0], 'lines')}, but {target} has {counts[1]}; line n of the one must be the "
            "translation of line n of the other"
        )
