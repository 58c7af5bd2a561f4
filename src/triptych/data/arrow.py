"""Rows to and from `datasets`: columns of a data set as rows, and rows as a data set on the disk."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from .formats.rows import Columns, Row, checked, missing_column
from .sieve import Sieve

if TYPE_CHECKING:
    from datasets import Dataset


CHUNK = 10_000  # the number of rows that are in memory at a time


def numbered_rows(rows: "Dataset", names: Sequence[str], origin: str) -> Iterator[Row]:
    """The number of each row of a data set, from 1, and its texts in these columns."""
    number = 0
    for table in rows.with_format("arrow").iter(batch_size=CHUNK):
        for values in zip(*(table[name].to_pylist() for name in names), strict=True):
            number += 1
            yield number, tuple(checked(v, n, f"{origin}: row {number}") for v, n in zip(values, names, strict=True))


def text_columns(rows: "Dataset", columns: Columns, origin: str) -> "Dataset":
    """The wanted columns, under the names of the sides; raises ValueError if one is missing or is not text."""
    if not set(columns.values()) <= set(rows.column_names):
        rows = rows.flatten()  # "translation.en" of a nested column
    for option, column in columns.items():
        if column not in rows.column_names:
            raise missing_column(origin, column, option, rows.column_names)
        kind = rows.features[column]
        if getattr(kind, "dtype", None) not in ("string", "large_string"):
            raise ValueError(f"{origin}: column {column!r} holds {getattr(kind, 'dtype', kind)}, not text")
    wanted = {column: option.removesuffix("_column") for option, column in columns.items()}
    rows = rows.select_columns(list(wanted))
    # Two steps, so that names do not clash with source_column="target" and target_column="source".
    rows = rows.rename_columns({column: f"side {side}" for column, side in wanted.items()})
    return rows.rename_columns({f"side {side}": side for side in wanted.values()})


def kept_rows(sieve: Sieve, rows: "Dataset", columns: Columns, origin: str) -> "Dataset":
    """The rows of a data set that a sieve keeps, with the wanted columns under the names of the sides."""
    rows = text_columns(rows, columns, origin)
    keep = [sieve.rows - 1 for _ in sieve.kept([(origin, "row", numbered_rows(rows, sieve.sides, origin))])]
    return rows if len(keep) == len(rows) else rows.select(keep)


def write_rows(rows: Iterator[tuple[str | None, ...]], sides: Sequence[str], split: str) -> "Dataset":
    """Writes rows, a chunk at a time, to a file that is deleted at the end of the process, and maps it into memory."""
    import pyarrow as pa
    from datasets import Dataset, NamedSplit
    from datasets.fingerprint import get_temporary_cache_files_directory

    schema = pa.schema([(side, pa.string()) for side in sides])
    handle, path = tempfile.mkstemp(suffix=".arrow", dir=get_temporary_cache_files_directory())
    try:
        with os.fdopen(handle, "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            while chunk := list(islice(rows, CHUNK)):
                writer.write_batch(
                    pa.record_batch([pa.array(side, pa.string()) for side in zip(*chunk, strict=True)], schema)
                )
    except BaseException:
        os.unlink(path)
        raise
    return Dataset.from_file(path, split=NamedSplit(split))
