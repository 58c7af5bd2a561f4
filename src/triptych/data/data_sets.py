"""The splits of a data set: of the Hub, or of a directory with files."""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .corpus import SPLITS
from .readers import FileOptions, file_format
from .saved_data_sets import DESCRIPTIONS, is_saved, read_saved

if TYPE_CHECKING:
    from datasets import Dataset


T = TypeVar("T")

# The words in the name of a file by which `datasets` knows its split.
KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def files_of_directory(name: str) -> dict[str, list[str]]:
    """The files of each split, in a directory or in its folder `data`, as far as their formats are known.

    The names of the files say the splits, as they do for `datasets.load_dataset`. That function is not used for them,
    because it takes the name of the directory as a pattern, and words such as "null" in a csv file as nothing.

    The result is empty for what `load_data_set` reads: a directory whose README.md describes its files, a directory
    that `save_to_disk` of `datasets` wrote, and a name that is not a directory.

    Raises:
        ValueError: `name` is a file, or the name of a file says several splits.
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
    """The splits that the name of a file says, as in train-00000-of-00002.parquet or my.dev.tsv."""
    parts = re.split(r"[-._ 0-9]", Path(path).name)
    return [split for split, words in KEYWORDS.items() if set(words) & set(parts)]


def load_data_set(name: str, config: str | None) -> dict[str, "Dataset"]:
    """The splits of a data set of the Hub, or of a directory that `datasets` can read or that it wrote.

    Raises:
        ValueError: the name of the directory is a pattern for `datasets`; its files cannot be read; or no split has a
            known name.
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
    # The cache of `datasets` knows a local file only by its time stamp, so a new cache is used each time.
    cache = tempfile.mkdtemp(dir=get_temporary_cache_files_directory()) if local else None
    try:
        loaded = load_dataset(name, config, cache_dir=cache)
    except DatasetGenerationError as error:
        raise ValueError(f"{name} cannot be read: {' '.join(str(error.__cause__ or error).split())}") from error
    return with_known_names(name, loaded)


def with_known_names(name: str, loaded: Mapping[str, T]) -> dict[str, T]:
    """The splits that have a known name; raises ValueError if there is none."""
    splits = {split: loaded[split] for split in SPLITS if split in loaded}
    if not splits:
        raise ValueError(f"{name} has the splits {', '.join(loaded)}; needed: {', '.join(SPLITS)}")
    return splits
