"""Checks, made before long work, that its output can be written and replaces nothing that is still needed."""

import os
from collections.abc import Iterable
from pathlib import Path

from .names import Ours, is_checkpoint_entry


def check_writable(path: Path) -> None:
    """Checks that a file or directory can be made at `path`; changes nothing.

    Raises:
        NotADirectoryError: a part of the path is a file.
        PermissionError: there is no permission to write in the directory where it would be made.
    """
    parent = Path(os.path.abspath(path)).parent
    while not parent.exists() and not parent.is_symlink():
        parent = parent.parent
    if not parent.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {parent} is not a directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: there is no permission to write in {parent}")


def check_output_file(
    path: Path, inputs: Iterable[str | Path] = (), model: str | Path | None = None, is_ours: Ours = is_checkpoint_entry
) -> None:
    """Checks that a file can be written at `path`, or where a link at `path` leads; changes nothing.

    Args:
        inputs: the files that the work reads.
        model: the model that the work reads; only a directory is looked at.
        is_ours: whether a path, relative to `model`, belongs to the model.

    Raises:
        ValueError: the file is one of the inputs, or it belongs to the model.
        IsADirectoryError: `path` is a directory.
        FileNotFoundError: the directory of the file does not exist.
        NotADirectoryError, PermissionError: see `check_writable`.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; name a file")
    target = path if path.exists() else Path(os.path.realpath(path))  # where a link without a target leads
    if not target.parent.exists():
        raise FileNotFoundError(f"{path} cannot be written: the directory {target.parent} does not exist")
    check_writable(target)
    if same := [name for name in inputs if _same_file(path, name)]:
        raise ValueError(f"{path} would replace the input {same[0]}; name another file for the output")
    if model is not None and os.path.isdir(model) and _belongs(path, Path(model).resolve(), is_ours):
        raise ValueError(f"{path} would replace a file of the model in {model}; name another file for the output")


def _same_file(path: Path, other: str | Path) -> bool:
    """Whether both names lead to the same regular file, possibly through links."""
    return path.is_file() and os.path.isfile(other) and os.path.samefile(path, other)


def _belongs(path: Path, directory: Path, is_ours: Ours) -> bool:
    """Whether writing to `path` would change a file of the model in `directory`, directly or through a link."""
    for place in (path.parent.resolve() / path.name, path.resolve()):
        if place.is_relative_to(directory) and is_ours(place.relative_to(directory).as_posix()):
            return True
    entries = (Path(folder, name) for folder, _, names in os.walk(directory) for name in names)
    return any(_same_file(path, e) and is_ours(e.relative_to(directory).as_posix()) for e in entries)
