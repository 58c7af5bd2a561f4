"""Sentence pairs from the user's files or a `datasets` data set, checked before anything is trained on them."""

import logging
import os
import re
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..files import is_plain, read_object, reading
from .corpus import SPLITS
from .readers import (
    FORMATS,
    NAMED,
    Columns,
    FileOptions,
    Row,
    check_choice,
    check_file,
    checked,
    counted,
    file_format,
    missing_column,
    named,
    read_parallel,
)

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)
Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
CHUNK = 10_000  # rows that are in memory at a time


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
    """Loads the splits that are named, each with exactly the columns `source` and `target`.

    docs/data.md says what each format means and what is refused. The rows are written to a temporary file, which is
    deleted at the end of the process, and not to a cache: a file that has changed is read anew.

    Args:
        train_file, validation_file, test_file: one file or several. tsv, csv, jsonl, json and parquet files (by the
            end of their names) are read one after another; two files of plain text are a pair, whose lines belong
            together. Each but parquet may be compressed (.gz, .bz2, .xz, .zst).
        dataset_name: name for `datasets.load_dataset`, or a directory with files, instead of files.
        dataset_config_name: its configuration, as in `load_dataset("wmt14", "de-en")`.
        source_column, target_column: where the two sides stand; a dot reaches into a nested column
            (`translation.en`).
        file_format: tsv, csv, jsonl, json, parquet or text, instead of what the files' names say.
        column_names: columns of tsv and csv files without a header, all in their order.
        delimiter: of the fields of tsv and csv files, instead of a tab or a comma.
        quoting: of tsv and csv files: `standard` (RFC 4180, as pandas and `Dataset.to_csv` write), or `none`, where
            a quotation mark is an ordinary character.
        surplus: what happens to a row of a tsv or csv file with more fields than there are columns: `error`, or
            `ignore` the fields at its end.
        empty: what happens to rows without a source or a target (empty, blank or null): `error`, or `drop` them, with
            a warning that says how many.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: nothing or too much is named, or a file is not what its format says. The message names the file,
            the line (in parquet and data sets the row, from 1) and the remedy, by the name that it has as an option of
            the scripts.
    """
    if source_column == target_column:
        raise ValueError(f"source_column and target_column are both {source_column!r}; a pair needs two columns")
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


@dataclass
class Counts:
    """Rows of one split: read, left out because a side is empty, and repeated (each but its first occurrence)."""

    rows: int = 0
    empty: int = 0
    duplicates: int = 0


def told(counts: Mapping[str, Counts]) -> list[str]:
    """What has to be said about the splits: rows that are left out, and pairs that occur more than once."""
    left_out = [f"{split}: empty rows left out: {c.empty:,} of {c.rows:,}" for split, c in counts.items() if c.empty]
    repeated = [f"{split}: repeated pairs, kept: {c.duplicates:,}" for split, c in counts.items() if c.duplicates]
    return left_out + repeated


def read_splits(
    files: Mapping[str, Files | None],
    columns: Columns,
    options: FileOptions,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    empty: str = "error",
) -> tuple["DatasetDict", dict[str, Counts]]:
    """Reads text columns of files, or of a data set, and counts the rows.

    Args:
        files: split → its files; None: not given.
        columns: option that names a column (`source_column`) → the column. The result's column is called like the
            option, without `_column`.
        empty: as in `load_pairs`. Where there is only one column, a blank text is not an empty row, only null is.

    Raises:
        FileNotFoundError, ValueError: see `load_pairs`.
    """
    from datasets import DatasetDict

    check_choice("empty", empty)
    paths = {split: names(given) for split, given in files.items() if given is not None}
    if bool(paths) == bool(dataset_name):
        raise ValueError(f"name either files ({', '.join(f'{split}_file' for split in files)}) or one dataset_name")
    loaded: dict[str, Dataset] = {}
    if dataset_name:
        paths = files_of_directory(dataset_name) if dataset_config_name is None else {}
        if not paths:
            loaded = load_data_set(dataset_name, dataset_config_name)
    # All files are looked at before the first is read.
    sources = {split: file_rows(given, columns, options) for split, given in paths.items()}
    check_options(paths, options)

    splits, sieves = {}, {}
    for split in [*sources, *loaded]:
        sieves[split] = Sieve(list(columns), empty)
        if split in sources:
            splits[split] = write_rows(sieves[split].kept(sources[split]), sieves[split].sides, split)
        else:
            splits[split] = sieves[split].data_set(loaded[split], columns, f"{dataset_name}[{split}]")
    if complaints := [line for sieve in sieves.values() for line in sieve.complaints()]:
        raise ValueError("; ".join(complaints) + ". Complete these rows, or leave them out with --empty drop")
    for split, rows in splits.items():
        if not len(rows):
            origin = ", ".join(paths.get(split, [f"{dataset_name}[{split}]"]))
            raise ValueError(f"{origin} holds no {'pairs' if len(columns) > 1 else 'texts'}")
    return DatasetDict(splits), {split: sieve.counts() for split, sieve in sieves.items()}


def names(files: Files) -> list[str]:
    """The files' names as they are given; raises ValueError if there is none, or one twice."""
    given = [os.fspath(file) for file in ([files] if isinstance(files, (str, os.PathLike)) else files)]
    if not given or len(set(given)) < len(given):
        raise ValueError(f"the files {', '.join(given)} must be at least one, and each named once")
    return given


def file_rows(paths: list[str], columns: Columns, options: FileOptions) -> Iterator[tuple[str, str, Iterator[Row]]]:
    """Origin, word for a place, and rows of the files of one split.

    Raises:
        FileNotFoundError, ValueError: a file that is missing or empty, or plain text files that are not a pair.
    """
    for path in paths:
        check_file(path)
    formats = [file_format(path, options) for path in paths]
    texts = [path for path, word in zip(paths, formats, strict=True) if word == "text"]
    if texts and len(columns) == 2:
        if len(texts) != 2 or len(paths) != 2:
            ends = ", ".join(f".{word}" for word in FORMATS if word != "text")
            raise ValueError(
                f"{', '.join(texts)}: the name ends in none of {ends}, so this is plain text, a sentence per line. "
                "Give two files of plain text, source and target, and no other; or name the format with --file_format"
            )
        return iter([(" and ".join(paths), "line", read_parallel(paths[0], paths[1], options))])
    return (
        (path, "row" if word == "parquet" else "line", FORMATS[word](path, columns, options))
        for path, word in zip(paths, formats, strict=True)
    )


def check_options(paths: Mapping[str, list[str]], options: FileOptions) -> None:
    """Raises ValueError if options of tsv and csv files are given, but there is no such file."""
    formats = {file_format(path, options) for given in paths.values() for path in given}
    if (unused := options.tabular()) and not formats & {"tsv", "csv"}:
        raise ValueError(f"{', '.join(unused)}: only for tsv and csv files, and there are none")


class Sieve:
    """Lets the rows through that have text on every side, and counts what it sees."""

    def __init__(self, column_options: Sequence[str], empty: str) -> None:
        self.sides = tuple(option.removesuffix("_column") for option in column_options)
        self.empty, self.blank_is_empty = empty, len(self.sides) > 1
        self.rows = 0
        self.hashes = array("q")  # of the rows that are kept: 8 bytes each, to count the repeated ones
        self.numbers: dict[str, int] = {}  # of empty rows in each file
        self.places: dict[str, list[str]] = {}  # where the first of them are

    def kept(self, origins: Iterable[tuple[str, str, Iterable[Row]]]) -> Iterator[tuple[str | None, ...]]:
        """The rows that are kept."""
        for origin, word, rows in origins:
            for place, values in rows:
                self.rows += 1
                if None in values or (self.blank_is_empty and not all(map(str.strip, values))):  # type: ignore[arg-type]
                    self.note(origin, word, place, values)
                else:
                    self.hashes.append(hash(values))
                    yield values

    def note(self, origin: str, word: str, place: int, values: Sequence[str | None]) -> None:
        """Remembers an empty row: how many there are in this file, and where the first ones are."""
        self.numbers[origin] = self.numbers.get(origin, 0) + 1
        if len(places := self.places.setdefault(origin, [])) <= NAMED:
            lacking = [side for side, value in zip(self.sides, values, strict=True) if not (value or "").strip()]
            places.append(f"{word} {place} (no {' and no '.join(lacking)})")

    def complaints(self) -> list[str]:
        """A sentence about each file with empty rows, unless these are dropped."""
        if self.empty == "drop":
            return []
        return [
            f"{origin}: {counted(self.numbers[origin])} no text on one side: {named(places)}"
            for origin, places in self.places.items()
        ]

    def counts(self) -> Counts:
        repeated = len(self.hashes) - len(np.unique(np.frombuffer(self.hashes, dtype=np.int64)))
        return Counts(self.rows, sum(self.numbers.values()), repeated)

    def data_set(self, rows: "Dataset", columns: Columns, origin: str) -> "Dataset":
        """The wanted columns of a data set, under the names of the sides, without the empty rows."""
        rows = text_columns(rows, columns, origin)
        keep = [self.rows - 1 for _ in self.kept([(origin, "row", numbered_rows(rows, self.sides, origin))])]
        return rows if len(keep) == len(rows) else rows.select(keep)


def numbered_rows(rows: "Dataset", names: Sequence[str], origin: str) -> Iterator[Row]:
    """Number of each row of a data set, and its texts in these columns."""
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
    # Over names that cannot clash, for source_column="target" and target_column="source".
    rows = rows.rename_columns({column: f"side {side}" for column, side in wanted.items()})
    return rows.rename_columns({f"side {side}": side for side in wanted.values()})


def write_rows(rows: Iterator[tuple[str | None, ...]], sides: Sequence[str], split: str) -> "Dataset":
    """Writes rows to a file that lives as long as the process, a chunk at a time, and maps it into memory."""
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


# --- data sets -----------------------------------------------------------------------------------------------------

# What `datasets` takes as the name of a split within a file's name.
KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}


# Files that describe a data set and hold none of its rows.
SAVED_DICT, SAVED_STATE, SAVED_INFO = "dataset_dict.json", "state.json", "dataset_info.json"
DESCRIPTIONS = frozenset({SAVED_DICT, SAVED_INFO, "dataset_infos.json"})


def files_of_directory(name: str) -> dict[str, list[str]]:
    """Split → its files, of a directory that holds (or whose folder `data` holds) files of a known format.

    The names say the splits, as they do for `datasets.load_dataset`, which itself takes the directory's name as a
    pattern, and words like "null" in a csv file as nothing. A directory whose README.md describes its files, and any
    other name, is left to `load_data_set`: the result is empty. So is one that `save_to_disk` of `datasets` wrote.

    Raises:
        ValueError: `name` is a file, or a file's name says several splits.
    """
    directory = Path(name)
    if directory.is_file():
        raise ValueError(f"dataset_name={name} is a file; name it with --train_file (or --test_file)")
    readme = directory / "README.md"
    if (
        is_saved(directory)
        or not directory.is_dir()
        or (readme.is_file() and readme.read_bytes().lstrip().startswith(b"---"))
    ):
        return {}
    for folder in (directory, directory / "data"):
        found = sorted(
            os.path.join(folder, entry)
            for entry in (os.listdir(folder) if folder.is_dir() else ())
            if not entry.startswith((".", "_"))
            and entry not in DESCRIPTIONS
            and file_format(entry, FileOptions()) != "text"
            and (folder / entry).is_file()
        )
        splits = {split: [path for path in found if split in splits_of(path)] for split in SPLITS}
        if several := [path for path in found if len(splits_of(path)) > 1]:
            raise ValueError(f"{several[0]}: its name says several splits; rename it, or name the files one by one")
        splits = {split: paths for split, paths in splits.items() if paths} or {"train": found}
        if found:
            return splits
    return {}


def splits_of(path: str) -> list[str]:
    """The splits that a file's name says: train-00000-of-00002.parquet, my.dev.tsv."""
    parts = re.split(r"[-._ 0-9]", Path(path).name)
    return [split for split, words in KEYWORDS.items() if set(words) & set(parts)]


def is_saved(directory: Path) -> bool:
    """Whether `save_to_disk` of `datasets` wrote the directory: of a data set, or of one with several splits."""
    return (directory / SAVED_DICT).is_file() or all(
        (directory / name).is_file() for name in (SAVED_STATE, SAVED_INFO)
    )


def read_saved(directory: Path) -> dict[str, "Dataset"]:
    """The splits of a directory that `save_to_disk` wrote; one without a name is for training.

    Only the names of its arrow files are taken from its JSON files. The arrow files are copied, as `datasets` writes
    the results of its work beside the files that it reads. (`datasets.load_from_disk` would read any path.)

    Raises:
        ValueError, FileNotFoundError: a file is damaged or missing, or names something outside of the directory.
    """
    if not (directory / SAVED_DICT).is_file():
        split, rows = read_saved_split(directory)
        return {split: rows}
    described = read_object(directory / SAVED_DICT)
    with reading(directory / SAVED_DICT):
        names = check_names("splits", described.get("splits"))
    return {name: read_saved_split(directory / name)[1] for name in names}


def read_saved_split(directory: Path) -> tuple[str, "Dataset"]:
    """Name and rows of a data set that `save_to_disk` wrote; see `read_saved`."""
    from datasets import Dataset, concatenate_datasets
    from datasets.fingerprint import get_temporary_cache_files_directory

    state = read_object(directory / SAVED_STATE)
    with reading(directory / SAVED_STATE):
        files = check_names("_data_files", [entry["filename"] for entry in state["_data_files"]])
        if state.get("_indices_data_files"):
            raise ValueError(
                "_indices_data_files: an old version of `datasets` wrote it, which selected rows by these"
            )
    folder, parts = tempfile.mkdtemp(dir=get_temporary_cache_files_directory()), []
    for file in files:
        with reading(directory / file):
            parts.append(Dataset.from_file(shutil.copyfile(directory / file, os.path.join(folder, file))))
    split = str(state.get("_split") or "train").partition("[")[0]  # of a part, such as train[:10%]
    return split, concatenate_datasets(parts)


def check_names(field: str, names: Any) -> list[str]:
    """The names; raises ValueError if these are not those of entries of a directory, at least one and none twice."""
    if not isinstance(names, list) or not names or not all(map(is_plain, names)) or len(set(names)) < len(names):
        raise ValueError(f"{field}={names!r}")
    return names


def load_data_set(name: str, config: str | None) -> dict[str, "Dataset"]:
    """The splits of a data set of the Hub, or of a directory that `datasets` understands or wrote.

    Raises:
        ValueError: the name of the directory is a pattern for `datasets`, its files cannot be read, or none of its
            splits has a known name.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError
    from datasets.fingerprint import get_temporary_cache_files_directory

    local = Path(name).is_dir()
    if is_saved(Path(name)):
        if config is not None:
            raise ValueError(
                f"{name} was written by save_to_disk, so it has no configurations; leave out --dataset_config_name"
            )
        return with_known_names(name, read_saved(Path(name)))
    if local and (re.search(r"[][*?{}]", os.path.abspath(name)) or "::" in name or "://" in name):
        raise ValueError(f"dataset_name={name}: `datasets` takes this name as a pattern; rename the directory")
    # The cache of `datasets` knows a local file by its time stamp only, so none is used twice.
    cache = tempfile.mkdtemp(dir=get_temporary_cache_files_directory()) if local else None
    try:
        loaded = load_dataset(name, config, cache_dir=cache)
    except DatasetGenerationError as error:
        raise ValueError(f"{name} cannot be read: {' '.join(str(error.__cause__ or error).split())}") from error
    return with_known_names(name, loaded)


def with_known_names(name: str, loaded: Mapping[str, "Dataset"]) -> dict[str, "Dataset"]:
    """The splits that have a known name; raises ValueError if there is none."""
    splits = {split: loaded[split] for split in SPLITS if split in loaded}
    if not splits:
        raise ValueError(f"{name} has the splits {', '.join(loaded)}; needed: {', '.join(SPLITS)}")
    return splits
