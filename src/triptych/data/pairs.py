"""Sentence pairs from the user's files or a `datasets` data set, checked before anything is trained on them."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .corpus import SPLITS

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
# A sentence may be "null", "NA" or "007": text is read as it stands. In a tsv a quotation mark is a letter.
TEXT_TABLE = {"keep_default_na": False, "na_filter": False}
# File name suffix: builder of `datasets` and its options.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".tsv": ("csv", {**TEXT_TABLE, "sep": "\t", "quoting": csv.QUOTE_NONE}),
    ".csv": ("csv", TEXT_TABLE),
    ".json": ("json", {}),
    ".jsonl": ("json", {}),
    ".parquet": ("parquet", {}),
}


def load_pairs(
    train_file: str | Path | None = None,
    validation_file: str | Path | None = None,
    test_file: str | Path | None = None,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    source_column: str = "source",
    target_column: str = "target",
) -> "DatasetDict":
    """Loads the splits that are named, each with exactly the columns `source` and `target`.

    Args:
        train_file, validation_file, test_file: tsv or csv (with a header), jsonl, json or parquet, by their suffix;
            each may be compressed (.gz, .bz2, .xz, .zst).
        dataset_name: name or directory for `datasets.load_dataset`, instead of files.
        dataset_config_name: its configuration, as in `load_dataset("wmt14", "de-en")`.
        source_column, target_column: where the two sides stand; a dot reaches into a nested column
            (`translation.en`).

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: nothing or too much is named, unknown suffix, unreadable or empty file, missing column, or a pair
            with an empty side. The message names the file, the row (the first is 1, a header is not counted) and the
            remedy.
    """
    from datasets import DatasetDict, load_dataset

    named = dict(zip(SPLITS, (train_file, validation_file, test_file), strict=True))
    paths = {split: Path(file) for split, file in named.items() if file is not None}
    if bool(paths) == bool(dataset_name):
        raise ValueError("name either files (train_file, validation_file, test_file) or one dataset_name")
    if source_column == target_column:
        raise ValueError(f"source_column and target_column are both {source_column!r}; a pair needs two columns")
    if dataset_name:
        loaded = load_dataset(dataset_name, dataset_config_name)
        splits = {split: loaded[split] for split in SPLITS if split in loaded}
        origins = {split: f"{dataset_name}[{split}]" for split in splits}
        if not splits:
            raise ValueError(f"{dataset_name} has the splits {', '.join(loaded)}; needed: {', '.join(SPLITS)}")
    else:
        for path in paths.values():
            check_file(path)
        splits = {split: read_file(path, split, (source_column, target_column)) for split, path in paths.items()}
        origins = {split: str(path) for split, path in paths.items()}
    return DatasetDict(
        {split: two_columns(rows, source_column, target_column, origins[split]) for split, rows in splits.items()}
    )


def format_suffix(path: Path) -> str:
    """The suffix that says the format: `.tsv` for pairs.tsv and for pairs.tsv.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in COMPRESSIONS]
    return suffixes[-1] if suffixes else ""


def check_file(path: Path) -> None:
    """Raises FileNotFoundError or ValueError if `path` cannot be a file of pairs."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    if format_suffix(path) not in FORMATS:
        raise ValueError(
            f"{path}: unknown format; the name must end in {', '.join(FORMATS)} (and may add .gz, .xz, …)"
        )
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; it must hold a sentence pair in each row")


def read_file(path: Path, split: str, columns: tuple[str, str]) -> "Dataset":
    """Reads one file with the builder of its format; raises ValueError with the builder's reason."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    builder, options = FORMATS[format_suffix(path)]
    if builder == "csv":  # without a converter a column of numbers would lose its spelling, and a short row its place
        options = {**options, "converters": dict.fromkeys(columns, str)}
    try:
        return load_dataset(builder, data_files={split: str(path)}, split=split, **options)
    except (DatasetGenerationError, ValueError, UnicodeDecodeError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        if "corresponds to no data" in reason:  # how `datasets` says that nothing follows the header
            raise ValueError(f"{path} holds no pairs") from error
        raise ValueError(f"{path} cannot be read as {format_suffix(path)[1:]} in UTF-8: {reason}") from error


def two_columns(rows: "Dataset", source_column: str, target_column: str, origin: str) -> "Dataset":
    """Returns the columns `source` and `target` alone; raises ValueError unless every pair has two sides of text."""
    if not {source_column, target_column} <= set(rows.column_names):
        rows = rows.flatten()  # "translation.en" of a nested column
    for option, column in (("source_column", source_column), ("target_column", target_column)):
        if column not in rows.column_names:
            raise ValueError(
                f"{origin} has no column {column!r}; it has {', '.join(map(repr, rows.column_names))}. "
                f"Name the right one with {option}"
            )
    if not len(rows):
        raise ValueError(f"{origin} holds no pairs")
    pairs = rows.select_columns([source_column, target_column])
    if source_column != "source" or target_column != "target":
        # Over names that cannot clash, for source_column="target" and target_column="source".
        pairs = pairs.rename_columns({source_column: "source pair side", target_column: "target pair side"})
        pairs = pairs.rename_columns({"source pair side": "source", "target pair side": "target"})
    check_sides(pairs, origin)
    return pairs


def check_sides(pairs: "Dataset", origin: str, chunk: int = 100_000) -> None:
    """Raises ValueError if a side is not text, null, empty or blank; reads Arrow columns, `chunk` rows at a time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for side in ("source", "target"):
        kind = pairs.features[side]
        if getattr(kind, "dtype", None) not in ("string", "large_string"):
            raise ValueError(f"{origin}: column {side!r} holds {getattr(kind, 'dtype', kind)}, not text")
    for start, table in enumerate(pairs.with_format("arrow").iter(batch_size=chunk)):
        for side in ("source", "target"):
            blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(table[side])), 0)
            empty = pc.index(pc.fill_null(blank, True), pa.scalar(True)).as_py()
            if empty >= 0:
                other = {"source": "target", "target": "source"}[side]
                raise ValueError(
                    f"{origin}: row {start * chunk + empty + 1} has no {side} (its {other} is "
                    f"{table[other][empty].as_py()!r}); a pair needs both sides: complete or delete the row"
                )
