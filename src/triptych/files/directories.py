"""Writing a directory so that it appears complete under its name, or not at all.

A new directory replaces an old one by two renames. A kill at any moment leaves the old or the new directory complete.
If neither has the final name then, the next call of `check_destination` gives the old one its name back.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .names import RECORD, Ours, is_checkpoint_entry, without_temporary
from .outputs import check_writable
from .removal import foreign_entries, record_of, remove_tree, written_by
from .writing import files_in, flush_names, flush_to_disk, write_json


@contextmanager
def new_directory(destination: str | Path, writer: str, overwrite: bool = False) -> Iterator[Path]:
    """An empty directory for the block to fill; it becomes `destination` at the end of the block, in one step.

    If the block fails, `destination` stays as it was. The new directory gets a record of its files, by which a later
    call knows what it may replace.

    Args:
        writer, overwrite: see `check_destination`, which is called first.
    """
    path = check_destination(destination, writer, overwrite=overwrite)
    new, old = _work_names(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new.mkdir()
    with _locked(new):
        try:
            yield new
            write_json(new / RECORD, {"writer": writer, "files": files_in(new)})
            _check_replaceable(path, destination, writer, overwrite)  # another program may have written meanwhile
            put_in_place(new, path, old, written_by(writer, path))
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)  # this call made the directory, so all of it may go
            raise


def check_destination(
    destination: str | Path, writer: str, source: str | Path | None = None, overwrite: bool = False
) -> Path:
    """Checks, before long work, that `new_directory` may make or replace `destination`.

    It puts back or removes what a killed call left, and changes nothing else.

    Args:
        writer: the name of the writing program; a writer replaces only directories that it wrote itself.
        source: what the work reads; only something on the disk is looked at.
        overwrite: allow to replace a directory that `writer` made by `new_directory` and that holds nothing else.

    Returns:
        `destination`, resolved.

    Raises:
        ValueError: `destination` is the source, contains the source or lies in it.
        FileExistsError: `destination` is a link, a mount, the current or the home directory, or contains one of these
            two; or it holds something, and `overwrite` is not set; or it holds something that `writer` did not write.
        NotADirectoryError, PermissionError: see `check_writable`.
    """
    if Path(destination).is_symlink():
        raise FileExistsError(f"{destination} is a link; choose another directory, or name the one it leads to")
    path = Path(destination).resolve()
    if source is not None and Path(source).exists():
        _check_apart(path, destination, source)
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{destination} exists; choose another directory, as it is a file")
    for what, place in (("current", "."), ("home", "~")):
        if contains(path, Path(os.path.realpath(os.path.expanduser(place)))):
            raise FileExistsError(f"{destination} is or contains the {what} directory; choose another directory")
    if os.path.ismount(path):
        raise FileExistsError(f"{destination} is a mount; choose a directory in it")
    check_writable(path)
    _recover(path, writer)
    _check_replaceable(path, destination, writer, overwrite)
    return path


def put_in_place(new: Path, final: Path, old: Path, is_ours: Ours) -> None:
    """Gives a completely written directory its final name. A directory of that name is renamed to `old`, then removed.

    If the new directory cannot be renamed, the old one gets its name back.

    Raises:
        FileExistsError: `old` exists.
    """
    flush_to_disk(new)
    replaced = final.is_dir() and any(final.iterdir())
    if replaced:
        if os.path.lexists(old):
            raise FileExistsError(f"{old} is in the way; move it away")
        os.rename(final, old)
    try:
        os.rename(new, final)
    except BaseException:
        if replaced:
            os.rename(old, final)
        raise
    flush_names(final.parent)
    if replaced:
        remove_tree(old, is_ours)


def put_back(final: Path, old: Path) -> bool:
    """Renames `old`, which a killed `put_in_place` left, to `final`, if nothing has that name; says whether it did."""
    if os.path.lexists(final) or old.is_symlink() or not old.is_dir():
        return False
    os.rename(old, final)
    return True


def contains(directory: Path, path: Path) -> bool:
    """Whether `path` is `directory` or lies inside it, under any name of the directory. Both paths are resolved."""
    return directory.exists() and any(
        parent.exists() and os.path.samefile(directory, parent) for parent in (path, *path.parents)
    )


def _check_apart(path: Path, destination: str | Path, source: str | Path) -> None:
    """Raises ValueError where the destination and the source are one, or one lies in the other."""
    read = Path(source).resolve()
    if contains(path, read) and contains(read, path):
        raise ValueError(f"{destination} is the source; choose another directory")
    if contains(read, path):
        raise ValueError(f"{destination} lies in the source {source}; choose another directory")
    parts = [read, *(part.resolve() for part in read.iterdir())] if read.is_dir() else [read]
    if any(contains(path, part) for part in parts):  # a file of the source may be a link to elsewhere
        raise ValueError(f"{destination} exists; choose another directory, as it contains the source {source}")


def _check_replaceable(path: Path, destination: str | Path, writer: str, overwrite: bool) -> None:
    if not path.exists() or not any(path.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"{destination} exists; choose another directory, or allow to overwrite it")
    if foreign := foreign_entries(path, written_by(writer, path)):
        raise FileExistsError(
            f"{destination} exists; choose another directory: this one is not replaced, because it holds what was not "
            f"written there by {writer} ({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''})"
        )


def _work_names(path: Path) -> tuple[Path, Path]:
    """The names beside `path` for the new directory, and for the old one during the renaming."""
    return path.with_name(f".{path.name}.triptych-new"), path.with_name(f".{path.name}.triptych-old")


def _recover(path: Path, writer: str) -> None:
    """Puts back or removes what a killed `new_directory` left.

    Raises:
        FileExistsError: another process is writing the directory, or another program put something there.
    """
    new, old = _work_names(path)
    for directory in (new, old):
        if os.path.lexists(directory) and (directory.is_symlink() or not directory.is_dir()):
            raise FileExistsError(f"{directory} is in the way; move it away")
    left = []
    if new.exists():
        with _locked(new):
            left += remove_tree(new, _is_unfinished)
    if record_of(writer, old) <= {*files_in(old)}:  # else the removal of the old directory had begun
        put_back(path, old)
    if old.exists():
        left += remove_tree(old, written_by(writer, old))
    if left:
        raise FileExistsError(
            f"{new} or {old} holds what another program put there ({', '.join(left[:3])}); move it away"
        )


def _is_unfinished(path: str) -> bool:
    return is_checkpoint_entry(without_temporary(path))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keeps other processes from the same work, where the system has file locks; a kill releases the lock."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(f"another process is writing {directory}; wait for it") from None
        except OSError:
            pass  # some network file systems have no locks
        yield
    finally:
        os.close(descriptor)
