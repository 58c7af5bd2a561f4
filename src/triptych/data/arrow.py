"""Rows to and from `datasets`: columns of a data set as rows, and rows as a data set on the disk."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from .formats.classes import class_names
from .formats.kinds import Column
from .formats.rows import Columns, Row, checked, missing_column, typed
from .sieve import Sieve

if TYPE_CHECKING:
    from datasets import Dataset


CHUNK = 10_000  # the number of rows that are in memory at a time


def numbered_rows(rows: "Dataset", columns: Mapping[str, Column], origin: str) -> Iterator[Row]:
    """The number of each row of a data set, from 1, and its values in these columns.

    Args:
        columns: the column of the data set → how it is named in messages, and what it holds.
    """
    wanted = [(column, class_names(rows.features, name)) for name, column in columns.items()]
    number = 0
    for table in rows.with_format("arrow").iter(batch_size=CHUNK):
        nothing = [None] * len(table)  # in an optional column that is not there
        found = [table[name].to_pylist() if name in rows.column_names else nothing for name in columns]
        for values in zip(*found, strict=True):
            number += 1
            place = f"{origin}: row {number}"
            yield (
                number,
                tuple(
                    checked(named(value), column, place) for value, (column, named) in zip(values, wanted, strict=True)
                ),
            )


def is_absent(column: Column, rows: "Dataset") -> bool:
    """Whether an optional column is not there."""
    return (
        column.optional and column.name.split(".")[0] not in rows.column_names and column.name not in rows.column_names
    )


def wanted_columns(rows: "Dataset", columns: Mapping[str, Column | str], origin: str) -> "Dataset":
    """The wanted columns, under the names of the sides; raises ValueError if one is missing or lacks texts."""
    present = {option: column for option, column in typed(columns).items() if not is_absent(column, rows)}
    if not {column.name for column in present.values()} <= set(rows.column_names):
        rows = rows.flatten()  # "translation.en" of a nested column
    for option, column in present.items():
        if column.name not in rows.column_names:
            raise missing_column(origin, column.name, option, rows.column_names)
        kind = rows.features[column.name]
        if column.kind == "text" and getattr(kind, "dtype", None) not in ("string", "large_string"):
            raise ValueError(f"{origin}: column {column.name!r} holds {getattr(kind, 'dtype', kind)}, not text")
    wanted = {column.name: option.removesuffix("_column") for option, column in present.items()}
    rows = rows.select_columns(list(wanted))
    # Two steps, so that names do not clash with source_column="target" and target_column="source".
    rows = rows.rename_columns({column: f"side {side}" for column, side in wanted.items()})
    return rows.rename_columns({f"side {side}": side for side in wanted.values()})


def kept_rows(sieve: Sieve, rows: "Dataset", columns: Columns, origin: str, split: str) -> "Dataset":
    """The rows of a data set that a sieve keeps, with the wanted columns under the names of the sides."""
    rows = wanted_columns(rows, columns, origin)
    of_sides = dict(zip(sieve.sides, columns.values(), strict=True))
    kept = sieve.kept([(origin, "row", numbered_rows(rows, of_sides, origin))])
    if any(column.kind != "text" for column in columns.values()):
        return write_rows(kept, of_sides, split)
    keep = np.fromiter((sieve.rows - 1 for _ in kept), dtype=np.int64)
    return rows if len(keep) == len(rows) else rows.select(keep)


def write_rows(rows: Iterator[tuple], columns: Mapping[str, Column], split: str) -> "Dataset":
    """Writes rows, a chunk at a time, to a file that is deleted at the end of the process, and maps it into memory.

    Args:
        columns: the name of each column of the result → what it holds.
    """
    import pyarrow as pa
    from datasets import Dataset, NamedSplit
    from datasets.fingerprint import get_temporary_cache_files_directory

    schema = pa.schema([(name, column.values.arrow(pa)) for name, column in columns.items()])
    handle, path = tempfile.mkstemp(suffix=".arrow", dir=get_temporary_cache_files_directory())
    try:
        with os.fdopen(handle, "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            while chunk := list(islice(rows, CHUNK)):
                values = zip(zip(*chunk, strict=True), schema.types, strict=True)
                writer.write_batch(pa.record_batch([pa.array(column, kind) for column, kind in values], schema))
    except BaseException:
        os.unlink(path)
        raise
    return Dataset.from_file(path, split=NamedSplit(split))
