"""Writing so that a kill at any moment leaves either the old or the new file, never half of one."""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp"


def flush_to_disk(path: Path) -> None:
    """fsync of a file, or of a directory with all that is in it."""
    for entry in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if entry.is_dir():
            _flush_entries(entry)
        else:
            with open(entry, "r+b") as file:
                os.fsync(file.fileno())


def _flush_entries(directory: Path) -> None:
    """fsync of the names in a directory, without which a rename may be lost when the machine goes down."""
    with suppress(OSError):  # not every file system lets a directory be opened
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replaces the file by `text` in one step."""
    temporary = path.with_name(path.name + TEMPORARY)
    temporary.write_text(text, encoding="utf-8")
    flush_to_disk(temporary)
    os.replace(temporary, path)
    _flush_entries(path.parent)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def commit_directory(temporary: Path, final: Path) -> None:
    """Gives a completely written directory its final name."""
    flush_to_disk(temporary)
    os.rename(temporary, final)
    _flush_entries(final.parent)


def publish(source: Path, target: Path) -> None:
    """Brings the files of `source` (not its folders) into `target`, each in one step."""
    for file in sorted(source.iterdir(), key=lambda f: (f.name.endswith(".index.json"), f.name)):
        if not file.is_file():
            continue
        temporary = target / (file.name + TEMPORARY)
        temporary.unlink(missing_ok=True)
        shutil.copyfile(file, temporary)
        flush_to_disk(temporary)
        os.replace(temporary, target / file.name)


def remove(path: Path) -> None:
    """Deletes a file or a directory tree; a link is deleted, not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
