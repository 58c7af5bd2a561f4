"""Reading sentences whose words stand one below the other: CoNLL (2003 and its relatives) and CoNLL-U.

A row is a sentence. Each column of a row is a list, with one entry for each word.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..quantities import counted
from .kinds import Column
from .lines import content, text_lines
from .rows import Columns, Row, checked, missing_column

if TYPE_CHECKING:
    from ..readers import FileOptions

FIELDS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")  # of CoNLL-U
DOCUMENT = "-DOCSTART-"  # the word of a line that stands between documents
LISTS = ("texts", "names")  # the kinds of columns that a sentence can give
ID = re.compile(r"(?P<word>[0-9]+)(-(?P<last>[0-9]+)|\.(?P<node>[0-9]+))?")  # of CoNLL-U: 8, 2-3 or 8.1
Word = tuple[int, list[str]]  # the line of a word, and its fields


def read_conll(path: str, columns: Columns, options: "FileOptions") -> Iterator[Row]:
    """The sentences of a file in the style of CoNLL 2003: a word with its fields on each line, blank lines between.

    The fields are divided by tabs or by spaces, and all lines have the same number of them. A line that begins with #
    before a sentence is a comment if it has another number of fields.
    """
    width = next((len(fields) for _, fields in fields_of_lines(path) if fields and fields[0][:1] != "#"), 0)
    names = options.column_names or ()
    if names and width and len(names) != width:
        raise ValueError(
            f"{path} has {counted(width, 'columns')}, but --column_names has {counted(len(names), 'names')}"
        )
    positions = positions_of(path, columns, names, width, {"tokens": 0, "tags": -1})

    def sentences() -> Iterator[list[Word]]:
        words: list[Word] = []
        for number, fields in fields_of_lines(path):
            if not fields:
                yield words
                words = []
            elif fields[0] == DOCUMENT or (not words and fields[0].startswith("#") and len(fields) != width):
                continue
            elif len(fields) != width:
                raise ValueError(
                    f"{path}: line {number} has {counted(len(fields), 'fields')}, but the first line of a word has "
                    f"{width}; a blank line stands between sentences"
                )
            else:
                words.append((number, fields))
        yield words

    yield from rows_of(path, sentences(), positions)


def fields_of_lines(path: str) -> Iterator[Word]:
    """The number and the fields of each line; a blank line has none."""
    for number, line in text_lines(path):
        line = content(line)
        if not line.strip():
            yield number, []
        else:
            yield number, line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))


def read_conllu(path: str, columns: Columns, options: "FileOptions") -> Iterator[Row]:
    """The sentences of a CoNLL-U file (universaldependencies.org/format.html).

    Left out are comments, empty nodes (8.1), and the lines of multi-word tokens (2-3), whose words follow. What stands
    in the text between the words (`SpaceAfter=No`) is not read: a sentence is a list of words.

    Raises:
        ValueError: the ids do not have the order of the format; or as the other readers.
    """
    positions = positions_of(path, columns, FIELDS, len(FIELDS), {"tokens": 1, "tags": 3})

    def sentences() -> Iterator[list[Word]]:
        words: list[Word] = []
        for number, line in text_lines(path):
            line = content(line)
            if not line.strip():
                yield words
                words = []
            elif not line.startswith("#"):
                fields = line.split("\t")
                if len(fields) != len(FIELDS):
                    raise ValueError(
                        f"{path}: line {number} has {counted(len(fields), 'fields')}, divided by tabs; CoNLL-U has "
                        f"{len(FIELDS)}"
                    )
                if not (found := ID.fullmatch(fields[0])):
                    raise ValueError(f"{path}: line {number} begins with {fields[0]!r:.60}, not with the id of a word")
                # An empty node has the id of the word before it; a word and a multi-word token have the next one.
                following = len(words) if found["node"] else len(words) + 1
                if int(found["word"]) != following:
                    raise ValueError(
                        f"{path}: line {number} has the id {fields[0]}, but {following} is next; a blank line stands "
                        "between sentences"
                    )
                if found["last"] and int(found["last"]) <= following:
                    raise ValueError(f"{path}: line {number} has the id {fields[0]}, which ends before it begins")
                if fields[0].isdigit():
                    words.append((number, fields))
        yield words

    yield from rows_of(path, sentences(), positions)


def positions_of(
    path: str, columns: Columns, names: Sequence[str], width: int, usual: Mapping[str, int]
) -> list[tuple[Column, int]]:
    """Each wanted column with its position; it is given by its name or by its number, from 1.

    Args:
        names: those of the file's columns, if they have names.
        width: the number of columns.
        usual: the position of a column that is called as it is by default.

    Raises:
        ValueError: there is no such column, or a column is wanted that does not hold a list, or two are the same one.
    """
    found: list[tuple[Column, int]] = []
    options: dict[int, str] = {}
    for option, column in columns.items():
        if column.kind not in LISTS:
            raise ValueError(
                f"{path} holds sentences of tagged words, and no column {column.name!r} (--{option}); such files are "
                "for tagging"
            )
        name = column.name.lower() if names is FIELDS else column.name
        if name in names:
            position = names.index(name)
        elif re.fullmatch(r"-?[0-9]+", name) and (0 < int(name) <= width or -width <= int(name) < 0):
            position = int(name) - 1 if int(name) > 0 else int(name)
        elif name in usual:
            position = usual[name]
        else:
            raise missing_column(path, column.name, option, [*names, *range(1, width + 1)])
        position %= max(width, 1)  # a number below zero counts from the end
        if (other := options.setdefault(position, option)) != option and width:
            raise ValueError(
                f"{path}: {other} and {option} are both column {position + 1} of {width}; each needs a column "
                "of its own"
            )
        found.append((column, position))
    return found


def rows_of(path: str, sentences: Iterator[list[Word]], positions: list[tuple[Column, int]]) -> Iterator[Row]:
    """The rows of sentences, each with the line of its first word; raises ValueError if a field is blank."""
    for words in sentences:
        for number, fields in words:
            for column, position in positions:
                if not fields[position].strip():
                    raise ValueError(f"{path}: line {number}: {column.name!r} is blank")
        if words:
            place = f"{path}: line {words[0][0]}"
            yield (
                words[0][0],
                tuple(
                    checked([fields[position] for _, fields in words], column, place) for column, position in positions
                ),
            )
