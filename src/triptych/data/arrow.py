"""Rows to and from `datasets`: columns of a data set as rows, and rows as a data set on the disk."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

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
    keep = np.zeros(len(rows), dtype=bool)
    for _ in kept:
        keep[sieve.rows - 1] = True
    return rows if keep.all() else select_rows(rows, keep)


def select_rows(rows: "Dataset", keep: np.ndarray) -> "Dataset":
    """The rows of a data set that are kept, in their order; a list of their numbers is on the disk, not in memory.

    (`Dataset.select` makes a Python object of the number of each row.) The list is deleted at the end of the process.

    Args:
        keep: which rows, (rows,) of bools.
    """
    from datasets.fingerprint import generate_random_fingerprint, get_temporary_cache_files_directory

    if not keep.any():
        return rows.select([])
    name = generate_random_fingerprint()
    kept = rows.with_format("arrow").filter(  # so that no row becomes a Python object
        lambda _, numbers: keep[numbers].tolist(),
        with_indices=True,
        batched=True,
        batch_size=CHUNK,
        cache_file_name=os.path.join(get_temporary_cache_files_directory(), f"{name}.arrow"),
        new_fingerprint=name,
        desc="selecting",
    )
    form = rows.format
    return kept.with_format(form["type"], form["columns"], form["output_all_columns"], **form["format_kwargs"])


def write_rows(rows: Iterator[tuple], columns: Mapping[str, Column], split: str) -> "Dataset":
    """Writes rows, a chunk at a time; see `write_batches`.

    Args:
        columns: the name of each column of the result → what it holds.
    """
    import pyarrow as pa

    schema = pa.schema([(name, column.values.arrow(pa)) for name, column in columns.items()])

    def batches() -> Iterator[Any]:
        while chunk := list(islice(rows, CHUNK)):
            values = zip(zip(*chunk, strict=True), schema.types, strict=True)
            yield pa.record_batch([pa.array(column, kind) for column, kind in values], schema)

    return write_batches(batches(), schema, split)


def write_batches(batches: Iterator[Any], schema: Any, split: str | None = None) -> "Dataset":
    """Writes record batches to a file that is deleted at the end of the process, and maps it into memory.

    Args:
        batches: `pyarrow.RecordBatch`es of this schema.
    """
    import pyarrow as pa
    from datasets import Dataset, NamedSplit
    from datasets.fingerprint import get_temporary_cache_files_directory

    handle, path = tempfile.mkstemp(suffix=".arrow", dir=get_temporary_cache_files_directory())
    try:
        with os.fdopen(handle, "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    except BaseException:
        os.unlink(path)
        raise
    return Dataset.from_file(path, split=None if split is None else NamedSplit(split))


@dataclass(frozen=True)
class Texts:
    """The texts of columns of a data set, one column after another; a chunk of rows is in memory at a time.

    They can be read repeatedly. Where a column holds lists of words, a text is the words with spaces between them.
    """

    rows: "Dataset"
    columns: Sequence[str]

    def __iter__(self) -> Iterator[str]:
        for column in self.columns:
            for value in values_of(self.rows, column):
                yield value if isinstance(value, str) else " ".join(value)


def values_of(rows: "Dataset", column: str) -> Iterator[Any]:
    """The values of a column; a chunk of rows is in memory at a time."""
    for table in rows.select_columns([column]).with_format("arrow").iter(batch_size=CHUNK):
        yield from table[column].to_pylist()
