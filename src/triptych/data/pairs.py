"""Loading pairs of sentences, from files or from a data set; they are checked before anything is trained on them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .arrow import kept_rows, write_rows
from .data_sets import files_of_directory, load_data_set
from .file_rows import Files, check_options, file_rows, names
from .formats.kinds import Column
from .formats.rows import typed
from .readers import FileOptions, check_choice
from .resolving import resolve_columns
from .sieve import Counts, Sieve, told

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)


def load_pairs(
    train_file: Files | None = None,
    validation_file: Files | None = None,
    test_file: Files | None = None,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    source_column: str = "source",
    target_column: str = "target",
    file_format: str | None = None,
    column_names: Sequence[str] | None = None,
    delimiter: str | None = None,
    quoting: Literal["standard", "none"] = "standard",
    surplus: Literal["error", "ignore"] = "error",
    empty: Literal["error", "drop"] = "error",
) -> "DatasetDict":
    """Loads the given splits, each with exactly the columns `source` and `target`.

    docs/data.md says what each format means and what is refused. The rows are written to a temporary file, which is
    deleted at the end of the process. There is no cache, so a file that has changed is read again.

    Args:
        train_file, validation_file, test_file: one file or several. tsv, csv, jsonl, json and parquet files (by the
            end of their names) are read one after another. Two files of plain text are a pair: line n of the second
            is the translation of line n of the first. All but parquet may be compressed (.gz, .bz2, .xz, .zst).
        dataset_name: instead of files: a name for `datasets.load_dataset`, or a directory with files.
        dataset_config_name: the configuration of the data set, as in `load_dataset("wmt14", "de-en")`.
        source_column, target_column: the columns of the two sides; a dot reaches into a nested column
            (`translation.en`).
        file_format: tsv, csv, jsonl, json, parquet or text, where the names of the files do not say it.
        column_names: the names of all columns, in their order, for tsv and csv files without a header.
        delimiter: the character between the fields of tsv and csv files, instead of a tab or a comma.
        quoting: the meaning of quotation marks in tsv and csv files: `standard` (RFC 4180, as pandas and
            `Dataset.to_csv` write them), or `none`, where a quotation mark is an ordinary character.
        surplus: what happens to a row of a tsv or csv file that has more fields than there are columns: `error`, or
            `ignore` the fields at its end.
        empty: what happens to rows without a source or a target (empty, blank or null): `error`, or `drop` them, with
            a warning that says how many.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: neither or both of files and data set are given, or a file is not what its format says. The message
            names the file, the line (in parquet files and data sets the row, from 1) and the remedy, which is an
            option of the scripts.
    """
    splits, counts = read_splits(
        {"train": train_file, "validation": validation_file, "test": test_file},
        {"source_column": source_column, "target_column": target_column},
        FileOptions(file_format, None if column_names is None else tuple(column_names), delimiter, quoting, surplus),
        dataset_name,
        dataset_config_name,
        empty,
    )
    for line in told(counts):
        logger.warning("%s", line)
    return splits


def read_splits(
    files: Mapping[str, Files | None],
    columns: Mapping[str, Column | str],
    options: FileOptions,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    empty: str = "error",
    fault: Callable[[dict[str, Any]], str | None] | None = None,
) -> tuple["DatasetDict", dict[str, Counts]]:
    """Reads columns of files, or of a data set, and counts the rows.

    Args:
        files: the files of each split; None: not given.
        columns: the wanted columns, by the option that names each (`source_column`); a `Column` says what it holds,
            and a name alone is the name of a column of texts. The column of the result has the name of the option
            without `_column`. `resolve_columns` says what becomes of an optional column and of the kind `label`.
        empty: as in `load_pairs`. Where there is only one column, only null is an empty row, and a blank text is not.
        fault: says what is wrong with a row (name of the column of the result → value), or None where nothing is.

    Raises:
        FileNotFoundError, ValueError: see `load_pairs`.
    """
    from datasets import DatasetDict

    check_choice("empty", empty)
    columns = typed(columns)
    paths = {split: names(given) for split, given in files.items() if given is not None}
    if bool(paths) == bool(dataset_name):
        raise ValueError(f"name either files ({', '.join(f'{split}_file' for split in files)}) or one dataset_name")
    loaded: dict[str, Dataset] = {}
    if dataset_name:
        paths = files_of_directory(dataset_name) if dataset_config_name is None else {}
        if not paths:
            loaded = load_data_set(dataset_name, dataset_config_name)
    # The names and sizes of all files are checked before the first file is read.
    for given in paths.values():
        file_rows(given, columns, options)
    check_options(paths, options)
    columns = resolve_columns(columns, paths, options, loaded, dataset_name)
    sources = {split: file_rows(given, columns, options) for split, given in paths.items()}

    splits, sieves = {}, {}
    for split in [*sources, *loaded]:
        sieves[split] = Sieve(columns, empty, fault)
        if split in sources:
            of_sides = dict(zip(sieves[split].sides, columns.values(), strict=True))
            splits[split] = write_rows(sieves[split].kept(sources[split]), of_sides, split)
        else:
            splits[split] = kept_rows(sieves[split], loaded[split], columns, f"{dataset_name}[{split}]", split)
    if complaints := [line for sieve in sieves.values() for line in sieve.complaints()]:
        raise ValueError("; ".join(complaints) + ". Complete these rows, or leave them out with --empty drop")
    for split, rows in splits.items():
        if not len(rows):
            origin = ", ".join(paths.get(split, [f"{dataset_name}[{split}]"]))
            several = "pairs" if sieves[split].only_texts else "rows"
            raise ValueError(f"{origin} holds no {several if len(columns) > 1 else 'texts'}")
    return DatasetDict(splits), {split: sieve.counts() for split, sieve in sieves.items()}
