"""Reading parquet files."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .classes import class_names
from .kinds import Column
from .rows import Columns, Row, checked, missing_column

if TYPE_CHECKING:
    from ..readers import FileOptions


def read_parquet(path: str, columns: Columns, options: "FileOptions") -> Iterator[Row]:
    """The rows of a parquet file; a dot in the name of a column reaches into a nested column."""
    import pyarrow as pa
    from pyarrow import parquet

    with open(path, "rb") as file:  # an open file, because pyarrow reads some names as addresses
        try:
            table = parquet.ParquetFile(file)
            for option, column in columns.items():
                check_parquet_column(path, table.schema_arrow, column, option)
            present = {
                option: column for option, column in columns.items() if not is_absent(column, table.schema_arrow)
            }
            features = features_of(table.schema_arrow)
            names = list(dict.fromkeys(column.name for column in present.values()))
            wanted = [(column, class_names(features, column.name)) for column in columns.values()]
            row = 0
            for batch in table.iter_batches(batch_size=10_000, columns=names):
                found = [
                    arrow_values(nested(batch, column.name), path, row) if option in present else [None] * len(batch)
                    for option, column in columns.items()
                ]
                for values in zip(*found, strict=True):
                    row += 1
                    place = f"{path}: row {row}"
                    yield (
                        row,
                        tuple(
                            checked(named(value), column, place)
                            for value, (column, named) in zip(values, wanted, strict=True)
                        ),
                    )
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path} cannot be read as parquet: {' '.join(str(error).split())}") from error


def nested(batch: Any, column: str) -> Any:
    """The array of a column; a dot in its name reaches into a nested column."""
    if column in batch.schema.names:
        return batch.column(column)
    import pyarrow.compute as pc

    head, *keys = column.split(".")
    array = batch.column(head)
    for key in keys:
        array = pc.struct_field(array, key)
    return array


def features_of(schema: Any) -> Any:
    """The features that `datasets` wrote into a file; None: another program wrote it."""
    if b"huggingface" not in (schema.metadata or {}):
        return None
    from datasets import Features

    return Features.from_arrow_schema(schema)


def is_absent(column: Column, schema: Any) -> bool:
    """Whether an optional column is not there."""
    return column.optional and column.name not in dict(field_types(schema))


def check_parquet_column(path: str, schema: Any, column: Column, option: str) -> None:
    """Raises ValueError unless exactly one column has this name, and it holds text if texts are wanted."""
    import pyarrow as pa

    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"{path} has two columns of the same name; it has {', '.join(map(repr, schema.names))}")
    kinds = dict(field_types(schema))
    if is_absent(column, schema):
        return
    if column.name not in kinds:
        raise missing_column(path, column.name, option, kinds)
    kind = kinds[column.name]
    if column.kind == "text" and not is_text(kind.value_type if pa.types.is_dictionary(kind) else kind):
        raise ValueError(f"{path}: column {column.name!r} holds {kind}, not text")


def field_types(fields: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The name and the type of each column and of each nested column: `translation`, `translation.en`."""
    import pyarrow as pa

    for field in fields:
        yield prefix + field.name, field.type
        if pa.types.is_struct(field.type):
            yield from field_types(field.type, f"{prefix}{field.name}.")


def is_text(kind: Any) -> bool:
    """Whether a type of pyarrow is a type of text."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def arrow_values(array: Any, path: str, before: int) -> list[Any]:
    """The values of an array; raises ValueError if one of them is not UTF-8.

    Args:
        before: the number of rows before this array, to count the rows of the file.
    """
    try:
        values: list[Any] = array.to_pylist()
        return values
    except UnicodeDecodeError:
        for row, value in enumerate(array, before + 1):
            try:
                value.as_py()
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}: row {row} is not UTF-8: {error.reason}") from None
        raise
