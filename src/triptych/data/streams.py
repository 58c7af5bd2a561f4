"""Texts that are read as they are needed, from files or from a data set: `datasets.IterableDataset`s."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arrow import write_rows
from .data_sets import with_known_names
from .file_rows import check_options, file_rows
from .formats.rows import Columns, checked, missing_column
from .readers import FileOptions
from .saved_data_sets import is_saved, read_saved

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


def stream_files(paths: list[str], columns: Columns, options: FileOptions, empty: str) -> "IterableDataset":
    """The rows of files with one column of texts, as a stream with the column `text`.

    The names and sizes of the files are checked at once, and the rest of them where it is read. Rows without text are
    an error, or left out; blank texts are left out.

    Args:
        empty: what happens to rows without text (null): `error` or `drop`.

    Raises:
        FileNotFoundError, ValueError: see `file_rows` and `check_options`; while it is read, a file is not what its
            format says, or a row has no text.
    """
    from datasets import IterableDataset

    file_rows(paths, columns, options)
    check_options({"train": paths}, options)
    return IterableDataset.from_generator(
        texts_of_files, gen_kwargs={"paths": paths, "columns": columns, "options": options, "empty": empty}
    )


def texts_of_files(paths: list[str], columns: Columns, options: FileOptions, empty: str) -> Iterator[dict[str, str]]:
    """The texts of files, one after another; see `stream_files`."""
    for origin, word, rows in file_rows(paths, columns, options):
        for place, (text,) in rows:
            if text is None and empty == "error":
                raise ValueError(
                    f"{origin}: {word} {place} has no text. Complete such rows, or leave them out with --empty drop"
                )
            if text is not None and text.strip():
                yield {"text": text}


def stream_data_set(name: str, config: str | None) -> Mapping[str, "IterableDataset"]:
    """The splits of a data set of the Hub, or of a directory that `datasets` can read or that it wrote, as streams.

    Raises:
        ValueError: no split has a known name.
    """
    from datasets import load_dataset

    if is_saved(Path(name)):
        loaded = {split: rows.to_iterable_dataset() for split, rows in read_saved(Path(name)).items()}
    else:
        loaded = load_dataset(name, config, streaming=True)
    return with_known_names(name, loaded)


def stream_of_texts(rows: "IterableDataset", columns: Columns, origin: str, empty: str) -> "IterableDataset":
    """A stream with one column of texts of a data set, under the name `text`; see `stream_files`.

    Raises:
        ValueError: while it is read, a row has no such column, or its value is not a text.
    """
    [(option, column)] = columns.items()

    def texts(row: dict[str, Any], number: int) -> dict[str, Any]:
        place = f"{origin}: row {number + 1}"
        if column.name not in row:
            raise missing_column(place, column.name, option, row)
        text = checked(row[column.name], column, place)
        if text is None and empty == "error":
            raise ValueError(f"{place} has no text. Complete such rows, or leave them out with --empty drop")
        return {"text": text or ""}

    return rows.map(texts, with_indices=True).select_columns(["text"]).filter(lambda row: row["text"].strip() != "")


def check_text(rows: "IterableDataset", origin: str) -> None:
    """Raises ValueError if a stream of texts has none: where all documents are blank, for example."""
    if next(iter(rows), None) is None:
        raise ValueError(f"{origin}: there is no text; all documents are blank")


def read_all(rows: "IterableDataset", columns: Columns, split: str) -> "Dataset":
    """Reads a whole stream of texts, onto the disk."""
    [column] = columns.values()
    return write_rows(((row["text"],) for row in rows), {"text": column}, split)
