"""What the caller leaves to the data: whether an optional column is there, and what labels are."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .arrow import numbered_rows, wanted_columns
from .file_rows import file_rows
from .formats.kinds import kind_of_labels
from .formats.rows import Columns, Row
from .readers import FileOptions

if TYPE_CHECKING:
    from datasets import Dataset

Origin = tuple[str, str, Iterable[Row]]  # the name of a file, the word for the place of a row, and the rows


def resolve_columns(
    columns: Columns,
    paths: Mapping[str, list[str]],
    options: FileOptions,
    loaded: Mapping[str, "Dataset"],
    dataset_name: str | None,
) -> Columns:
    """The columns without open questions: these are answered by the rows of all splits, which are read once for it.

    An optional column is left out if no row has a value in it; otherwise all rows need it. The kind `label` becomes
    the kind that all labels allow, `name`, `names` or `number`.

    Args:
        paths: the files of each split.
        loaded: the rows of each split, where they are no files.

    Raises:
        ValueError: as the readers; or no kind of labels allows all rows.
    """
    open_columns = {option: column for option, column in columns.items() if column.optional or column.kind == "label"}
    if not open_columns:
        return columns
    seen: dict[str, dict[Any, str]] = {option: {} for option in open_columns}
    for option, value, place in found(open_columns, origins(open_columns, paths, options, loaded, dataset_name)):
        is_label = open_columns[option].kind == "label"
        seen[option].setdefault(value if is_label else "a value", place)
    resolved = dict(columns)
    for option, column in open_columns.items():
        if column.kind == "label":
            column = replace(column, kind=kind_of_labels(seen[option], column.name))
        resolved[option] = replace(column, optional=False)
        if column.optional and not seen[option]:
            del resolved[option]
    return resolved


def found(columns: Columns, sources: Iterable[Origin]) -> Iterator[tuple[str, Any, str]]:
    """The option, the value and the place of every value in these columns; `sources` is what `origins` gives."""
    for origin, word, rows in sources:
        for place, values in rows:
            for option, value in zip(columns, values, strict=True):
                if value is not None:
                    yield option, value, f"{origin}: {word} {place}"


def origins(
    columns: Columns,
    paths: Mapping[str, list[str]],
    options: FileOptions,
    loaded: Mapping[str, "Dataset"],
    dataset_name: str | None,
) -> Iterator[Origin]:
    """The files, and the splits of a data set, with their rows."""
    for given in paths.values():
        yield from file_rows(given, columns, options)
    for split, rows in loaded.items():
        origin = f"{dataset_name}[{split}]"
        sides = wanted_columns(rows, columns, origin)
        named = {option.removesuffix("_column"): column for option, column in columns.items()}
        yield origin, "row", numbered_rows(sides, named, origin)
