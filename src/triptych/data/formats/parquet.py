"""Reading parquet files."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

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
            row = 0
            for batch in table.iter_batches(batch_size=10_000, columns=list(dict.fromkeys(columns.values()))):
                texts = [arrow_texts(nested(batch, column), path, row) for column in columns.values()]
                for values in zip(*texts, strict=True):
                    row += 1
                    yield (
                        row,
                        tuple(
                            checked(v, c, f"{path}: row {row}") for v, c in zip(values, columns.values(), strict=True)
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


def check_parquet_column(path: str, schema: Any, column: str, option: str) -> None:
    """Raises ValueError unless exactly one column has this name, and it holds text."""
    import pyarrow as pa

    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"{path} has two columns of the same name; it has {', '.join(map(repr, schema.names))}")
    kinds = dict(field_types(schema))
    if column not in kinds:
        raise missing_column(path, column, option, kinds)
    kind = kinds[column]
    if not is_text(kind.value_type if pa.types.is_dictionary(kind) else kind):
        raise ValueError(f"{path}: column {column!r} holds {kind}, not text")


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


def arrow_texts(array: Any, path: str, before: int) -> list[str | None]:
    """The strings of an array; raises ValueError if one of them is not UTF-8.

    Args:
        before: the number of rows before this array, to count the rows of the file.
    """
    try:
        texts: list[str | None] = array.to_pylist()
        return texts
    except UnicodeDecodeError:
        for row, value in enumerate(array, before + 1):
            try:
                value.as_py()
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}: row {row} is not UTF-8: {error.reason}") from None
        raise
