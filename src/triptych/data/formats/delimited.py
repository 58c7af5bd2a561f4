"""Reading tables whose fields stand between delimiters: tsv and csv."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from ..quantities import counted
from .kinds import trimmed
from .lines import content, text_lines
from .rows import Columns, Row, missing_column, named, parsed

if TYPE_CHECKING:
    from ..readers import FileOptions


def raw_fields(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The line and the fields of each row; a quotation mark is an ordinary character."""
    for number, line in text_lines(path):
        yield number, content(line).split(delimiter)


def standard_fields(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The line and the fields of each row, with the quoting of RFC 4180.

    `csv.reader` is not used: even with `strict=True` it takes a stray quotation mark as text, and a lone carriage
    return as the end of a row, and its result does not show this.
    """
    lines = text_lines(path)
    for number, line in lines:
        if '"' in line:
            yield number, quoted_fields(path, delimiter, number, line, lines)
        else:
            yield number, content(line).split(delimiter)


TO_QUOTE = re.compile(r'(?:[^"]+|"")*')


def quoted_fields(path: str, delimiter: str, number: int, line: str, lines: Iterator[tuple[int, str]]) -> list[str]:
    """The fields of one row. A quoted field may extend over several lines, which are taken from `lines`."""
    fields, position = [], 0
    while True:
        begin = number
        if line.startswith('"', position):
            pieces, position = [], position + 1
            while (end := end_of(TO_QUOTE, line, position)) == len(line):
                pieces.append(line[position:] + "\n")
                number, line = next(lines, (0, ""))
                if not number:
                    raise stray_quote(path, begin, "is not closed")
                position = 0
            pieces.append(line[position:end])
            fields.append("".join(pieces).replace('""', '"'))
            position = end + 1
            if not line.startswith(delimiter, position):
                if content(line[position:]):
                    raise stray_quote(path, begin, "is followed by more text")
                return fields
        else:
            end = line.find(delimiter, position)
            field = content(line[position:]) if end < 0 else line[position:end]
            if '"' in field:
                raise stray_quote(path, begin, "stands inside a field that does not begin with one")
            fields.append(field)
            if end < 0:
                return fields
            position = end
        position += len(delimiter)


def stray_quote(path: str, line: int, fault: str) -> ValueError:
    """The error for a quotation mark that the standard does not allow."""
    return ValueError(
        f"{path}: line {line}: a quotation mark {fault}. A field that holds quotation marks must itself stand in "
        'quotation marks, with "" for each (as pandas and `Dataset.to_csv` write it). If quotation marks are ordinary '
        "characters in this file, give --quoting none"
    )


SPLITTERS = {"standard": standard_fields, "none": raw_fields}


def read_delimited(path: str, columns: Columns, options: "FileOptions", delimiter: str) -> Iterator[Row]:
    """The rows of a tsv or csv file."""
    delimiter = options.delimiter or delimiter
    rows = SPLITTERS[options.quoting](path, delimiter)
    first = next(rows, (1, [""]))
    header = [trimmed(name) for name in first[1]]
    if options.column_names:
        of_file, header = header, [trimmed(name) for name in options.column_names]
        if of_file == header:
            raise ValueError(f"{path}: line 1 holds the column names already; leave out --column_names")
        rows = chain([first], rows)
    picks = [
        (
            None
            if column.optional and trimmed(column.name) not in header
            else header_position(path, column.name, option, header, delimiter),
            column,
        )
        for option, column in columns.items()
    ]
    blank: list[int] = []
    wrong: list[str] = []
    for place, fields in rows:
        if len(fields) != len(header):
            if len(fields) == 1 and not fields[0].strip():  # a blank line; at the end of the file it is not a row
                blank.append(place)
                continue
            if len(fields) < len(header) or options.surplus == "error":
                wrong.append(f"line {place} has {len(fields)}")
                continue
        if blank:
            yield from ((line, (None,) * len(picks)) for line in blank)
            blank = []
        yield (
            place,
            tuple([None if pick is None else parsed(fields[pick], column, path, place) for pick, column in picks]),
        )
    if wrong:
        origin = "--column_names" if options.column_names else "header"
        raise ValueError(
            f"{path}: {counted(len(wrong), 'rows have', one='row has')} another number of fields than the "
            f"{len(header)} of the {origin}: {named(wrong)}. A field that holds the delimiter {delimiter!r} must "
            "stand in quotation marks; surplus fields are left out with --surplus ignore"
        )


def header_position(path: str, column: str, option: str, header: list[str], delimiter: str) -> int:
    """The index of a column; raises ValueError if no column has this name, or if two columns have the same name."""
    if repeated := [name for name in header if header.count(name) > 1]:
        raise ValueError(
            f"{path}: line 1: the header has the column {repeated[0]!r} twice; each column needs a different name"
        )
    if trimmed(column) in header:
        return header.index(trimmed(column))
    remedy = "if the first line is not a header but a row, name all columns with --column_names"
    others = [other for other in "\t;,|" if len(header) == 1 and other in header[0]]
    if others:
        remedy = f"if the fields are divided by {others[0]!r} and not by {delimiter!r}, give --delimiter {others[0]!r}"
    raise missing_column(path, column, option, header, f"; {remedy}")


def end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Where the match at `position` ends; without a match, `position`."""
    match = pattern.match(text, position)
    return match.end() if match else position
