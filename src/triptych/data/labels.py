"""Finding out what labels are (names, lists of names, or numbers), where the caller leaves it to the data."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from .arrow import numbered_rows, wanted_columns
from .file_rows import file_rows
from .formats.kinds import kind_of_labels
from .formats.rows import Columns, Row
from .readers import FileOptions

if TYPE_CHECKING:
    from datasets import Dataset


def resolve_labels(
    columns: Columns,
    paths: Mapping[str, list[str]],
    options: FileOptions,
    loaded: Mapping[str, "Dataset"],
    dataset_name: str | None,
) -> Columns:
    """The columns, in which each `label` is replaced by the kind that all rows allow. It reads the labels once.

    Args:
        paths: the files of each split.
        loaded: the rows of each split, where they are no files.

    Raises:
        ValueError: as the readers; or no kind of labels allows all rows.
    """
    resolved = dict(columns)
    for option, column in columns.items():
        if column.kind == "label":
            seen: dict[str, str] = {}
            for given in paths.values():
                look_at(file_rows(given, {option: column}, options), seen)
            for split, rows in loaded.items():
                origin = f"{dataset_name}[{split}]"
                side = wanted_columns(rows, {option: column}, origin)
                look_at([(origin, "row", numbered_rows(side, {side.column_names[0]: column}, origin))], seen)
            resolved[option] = replace(column, kind=kind_of_labels(seen, column.name))
    return resolved


def look_at(origins: Iterable[tuple[str, str, Iterable[Row]]], seen: dict[str, str]) -> None:
    """Adds to `seen` what the labels can be, with the first place of each."""
    for origin, word, rows in origins:
        for place, (evidence,) in rows:
            if evidence is not None and evidence not in seen:
                seen[evidence] = f"{origin}: {word} {place}"
