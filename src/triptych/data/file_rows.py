"""The rows of the files of one split."""

import os
from collections.abc import Iterator, Mapping, Sequence

from .formats.rows import Columns, Row
from .formats.text import read_parallel
from .readers import FORMATS, FileOptions, check_file, file_format

PLACES = {"parquet": "row", "squad": "question"}  # what is counted in files that have no lines

Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def names(files: Files) -> list[str]:
    """The names of the files as they are given; raises ValueError if there are none, or if one is named twice."""
    given = [os.fspath(file) for file in ([files] if isinstance(files, (str, os.PathLike)) else files)]
    if not given or len(set(given)) < len(given):
        raise ValueError(f"the files {', '.join(given)} must be at least one, and each named once")
    return given


def file_rows(paths: list[str], columns: Columns, options: FileOptions) -> Iterator[tuple[str, str, Iterator[Row]]]:
    """The rows of the files of one split.

    Returns:
        For each file (or pair of files): its name, the word for the place of a row ("line", or one of `PLACES`), and
        its rows.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is empty, or plain text files are not a pair.
    """
    for path in paths:
        check_file(path)
    formats = [file_format(path, options) for path in paths]
    texts = [path for path, word in zip(paths, formats, strict=True) if word == "text"]
    if texts and len(columns) == 2 and all(column.kind == "text" for column in columns.values()):
        if len(texts) != 2 or len(paths) != 2:
            ends = ", ".join(f".{word}" for word in FORMATS if word not in ("squad", "text"))
            raise ValueError(
                f"{', '.join(texts)}: the name ends in none of {ends}, so this is plain text, a sentence per line. "
                "Give two files of plain text, source and target, and no other; or name the format with --file_format"
            )
        return iter([(" and ".join(paths), "line", read_parallel(paths[0], paths[1], options))])
    return (
        (path, PLACES.get(word, "line"), FORMATS[word](path, columns, options))
        for path, word in zip(paths, formats, strict=True)
    )


def check_options(paths: Mapping[str, list[str]], options: FileOptions) -> None:
    """Raises ValueError if options of tsv and csv files, or of plain text, are given, but there is no such file."""
    formats = {file_format(path, options) for given in paths.values() for path in given}
    if options.documents != FileOptions.documents and "text" not in formats:
        raise ValueError(f"documents={options.documents}: only for plain text files, and there are none")
    unused = [name for name in options.tabular() if name != "column_names" or "conll" not in formats]
    if unused and not formats & {"tsv", "csv"}:
        raise ValueError(f"{', '.join(unused)}: only for tsv and csv files, and there are none")
