"""Writing files so that each appears complete under its name, or not at all."""

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .names import INDEX, TEMPORARY


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces the file by `content` in one step. If `path` is a link or a device (/dev/stdout), writes into it."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(content)
        return
    with _replacement(path) as temporary, open(temporary, "xb") as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Replaces the file by `text` in UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replaces the file by `value` as JSON; see `write_bytes`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def files_in(directory: Path) -> list[str]:
    """The regular files under a directory, as relative paths with slashes; links are not listed and not followed."""
    found = []
    for folder, _, names in os.walk(directory):
        paths = (Path(folder, name) for name in names)
        found += [path.relative_to(directory).as_posix() for path in paths if not path.is_symlink() and path.is_file()]
    return sorted(found)


def publish(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copies files of `source`, named by relative paths, into the directory `target`; each appears in one step.

    The index of the weights comes last, so that it never names a file that is not yet there.
    """
    for name in sorted(names, key=lambda name: (name.endswith(INDEX), name)):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with _replacement(target / name) as temporary:
            shutil.copyfile(source / name, temporary)


def flush_to_disk(path: Path) -> None:
    """Calls fsync for a file, or for a directory and everything in it."""
    for entry in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if entry.is_dir():
            flush_names(entry)
        else:
            with open(entry, "r+b") as file:
                os.fsync(file.fileno())


def flush_names(directory: Path) -> None:
    """Calls fsync for the names in a directory; without it, a crash of the machine may undo a rename."""
    with suppress(OSError):  # some file systems do not let a directory be opened
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """A new, unique name for a file beside `path`; when the block ends, the file takes the place of `path`."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        yield temporary
        flush_to_disk(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_names(path.parent)
