"""Reading the directories that `save_to_disk` of `datasets` wrote."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import is_plain, read_object, reading

if TYPE_CHECKING:
    from datasets import Dataset


SAVED_DICT, SAVED_STATE, SAVED_INFO = "dataset_dict.json", "state.json", "dataset_info.json"
DESCRIPTIONS = frozenset({SAVED_DICT, SAVED_INFO, "dataset_infos.json"})


def is_saved(directory: Path) -> bool:
    """Whether `save_to_disk` of `datasets` wrote the directory, for one data set or for several splits."""
    return (directory / SAVED_DICT).is_file() or all(
        (directory / name).is_file() for name in (SAVED_STATE, SAVED_INFO)
    )


def read_saved(directory: Path) -> dict[str, "Dataset"]:
    """The splits of a directory that `save_to_disk` wrote; a data set without the name of a split is for training.

    Of its JSON files only the names of its arrow files are used, while `datasets.load_from_disk` would read any path.
    The arrow files are copied, because `datasets` writes the results of its work beside the files that it reads.

    Raises:
        ValueError: a file is damaged, or names something outside the directory.
        FileNotFoundError: a file is missing.
    """
    if not (directory / SAVED_DICT).is_file():
        split, rows = read_saved_split(directory)
        return {split: rows}
    described = read_object(directory / SAVED_DICT)
    with reading(directory / SAVED_DICT):
        names = check_names("splits", described.get("splits"))
    return {name: read_saved_split(directory / name)[1] for name in names}


def read_saved_split(directory: Path) -> tuple[str, "Dataset"]:
    """The name and the rows of one split that `save_to_disk` wrote; see `read_saved`."""
    from datasets import Dataset, concatenate_datasets
    from datasets.fingerprint import get_temporary_cache_files_directory

    state = read_object(directory / SAVED_STATE)
    with reading(directory / SAVED_STATE):
        files = check_names("_data_files", [entry["filename"] for entry in state["_data_files"]])
        if state.get("_indices_data_files"):
            raise ValueError("it has _indices_data_files, by which old versions of `datasets` selected rows")
    folder, parts = tempfile.mkdtemp(dir=get_temporary_cache_files_directory()), []
    for file in files:
        with reading(directory / file):
            parts.append(Dataset.from_file(shutil.copyfile(directory / file, os.path.join(folder, file))))
    split = str(state.get("_split") or "train").partition("[")[0]  # it may name a part, such as train[:10%]
    return split, concatenate_datasets(parts)


def check_names(field: str, names: Any) -> list[str]:
    """The names; raises ValueError unless each is the name of an entry of a directory, and none occurs twice."""
    if not isinstance(names, list) or not names or not all(map(is_plain, names)) or len(set(names)) < len(names):
        raise ValueError(f"{field}={names!r}")
    return names
