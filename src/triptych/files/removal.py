"""Removing only what the package wrote: a record alone never decides, the name must also be one that it uses."""

import os
from contextlib import suppress
from pathlib import Path

from .names import RECORD, Ours, is_checkpoint_entry
from .reading import read_object


def remove(path: Path, is_ours: Ours, name: str | None = None) -> list[str]:
    """Removes a file, or a directory with its content, as far as `is_ours` allows; returns the paths that are left.

    Links are neither followed nor removed. A directory that still holds something stays.

    Args:
        name: the path that is given to `is_ours`; by default the name of `path`.
    """
    name = path.name if name is None else name
    if not os.path.lexists(path):
        return []
    if path.is_symlink():
        return [name]
    if path.is_dir():
        return remove_tree(path, is_ours, f"{name}/") if is_ours(f"{name}/") else [name]
    if not path.is_file() or not is_ours(name):
        return [name]
    path.unlink(missing_ok=True)
    return []


def remove_tree(directory: Path, is_ours: Ours, within: str = "") -> list[str]:
    """Removes the content of a directory as `remove` does, and then the directory if it is empty.

    Args:
        within: what stands before the name of each entry in the path that is given to `is_ours`.
    """
    left = []
    for entry in sorted(directory.iterdir(), key=lambda entry: (entry.name == RECORD, entry.name)):  # the record last
        left += remove(entry, is_ours, within + entry.name)
    if not left:
        directory.rmdir()
    return left


def foreign_entries(directory: Path, is_ours: Ours, within: str = "") -> list[str]:
    """The paths that `remove_tree` would leave; changes nothing."""
    left = []
    for entry in sorted(directory.iterdir()):
        path = within + entry.name
        if entry.is_dir() and not entry.is_symlink():
            left += foreign_entries(entry, is_ours, f"{path}/") if is_ours(f"{path}/") else [path]
        elif entry.is_symlink() or not entry.is_file() or not is_ours(path):
            left.append(path)
    return left


def record_of(writer: str, directory: Path) -> set[str]:
    """The paths of the files that `writer` recorded in a directory; empty if there is no such record."""
    with suppress(ValueError, OSError):
        record = read_object(directory / RECORD)
        if record.get("writer") == writer and isinstance(record.get("files"), list):
            return {name for name in record["files"] if isinstance(name, str)} | {RECORD}
    return set()


def written_by(writer: str, directory: Path) -> Ours:
    """A function that says whether `writer` wrote a path: its record names the path, and the package uses the name."""
    names = record_of(writer, directory)
    folders = {"/".join(name.split("/")[:depth]) + "/" for name in names for depth in range(1, name.count("/") + 1)}
    return lambda path: is_checkpoint_entry(path) and path in names | folders
