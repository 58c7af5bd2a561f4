"""The output directory as a whole: whether a run may use it, which run it belongs to, and how a run begins in it."""

import os
from pathlib import Path
from typing import Any

from ...files import TEMPORARY, Ours, check_writable, foreign_entries, remove, without_temporary
from .checkpoints import last_checkpoint, step_of
from .checks import check_checkpoints
from .record import RUN_FILE, STEP_DIRECTORY, YIELDING, is_run_entry, read_record, recorded, write_record


def check_output_dir(output_dir: str | Path, resume: bool = False, overwrite: bool = False) -> None:
    """
    Checks whether a run may use `output_dir`. It changes nothing, so a caller can ask before any long work.

    Raises:
        FileExistsError: the directory holds a run (and neither `resume` nor `overwrite` is given), or something that
            no run wrote, or something under a name that the run needs.
        FileNotFoundError: `resume` is given, but there is no run; or a file of a checkpoint is missing.
        NotADirectoryError: the path is a file, or a link that leads to nothing.
        PermissionError: the directory cannot be written.
        ValueError: run.json is damaged; or `resume` is given, and a checkpoint is damaged.
    """
    path = Path(output_dir)
    if os.path.lexists(path) and not path.is_dir():
        raise NotADirectoryError(f"output_dir={output_dir} is a file; name a directory")
    check_writable(path / RUN_FILE)
    entries = sorted(e.name for e in path.iterdir()) if path.exists() else []
    if RUN_FILE in entries:
        _check_run(path, resume, overwrite)
        return
    # The log files of a shell or a scheduler do no harm, and neither does what a kill left of run.json.
    others = [
        name
        for name in entries
        if not (name.startswith(".") or Path(name).suffix in (".log", ".out", ".err"))
        and without_temporary(name) != RUN_FILE
    ]
    if others:
        raise FileExistsError(
            f"output_dir={output_dir} is not empty and holds no run (it has {_some(others)}); name another directory"
        )
    if resume:
        raise FileNotFoundError(f"there is no run to resume in output_dir={output_dir}; leave out --resume")


def _check_run(path: Path, resume: bool, overwrite: bool) -> None:
    """`check_output_dir` of a directory that holds run.json."""
    read_record(path)
    last = last_checkpoint(path)
    if not (resume or overwrite):
        position = f"its last checkpoint is {last.name}" if last else "it has no checkpoint yet"
        raise FileExistsError(
            f"output_dir={path} holds a run ({position}). Continue it with --resume, delete it and start "
            "over with --overwrite, or name another directory"
        )
    if resume:
        check_checkpoints(path)
    if foreign := in_the_way(path, step_of(last) if resume and last else -1):
        raise FileExistsError(
            f"output_dir={path} holds {_some(foreign)}, which the run has not written and may have to; move it away, "
            "or name another directory"
        )


def _some(names: list[str]) -> str:
    """The first three of the names, for a message."""
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def in_the_way(output_dir: Path, after: int) -> list[str]:
    """Returns the entries that this run has not written, but whose names it may need.

    Args:
        after: a step; the directories of this step and of earlier steps are not needed any more.
    """
    written, found = recorded(output_dir), []
    for entry in sorted(output_dir.iterdir()):
        step = STEP_DIRECTORY.fullmatch(entry.name)
        has_a_name_of_a_run = any(is_run_entry(name) for name in (entry.name, f"{entry.name}/"))
        is_left_by_a_kill = entry.name.endswith(TEMPORARY)
        is_needed = has_a_name_of_a_run and entry.name not in {RUN_FILE, *YIELDING}
        if not is_needed or (step and int(step["step"]) <= after):
            continue
        if entry.is_symlink() or not (entry.name in written or is_left_by_a_kill):
            found.append(entry.name)
    return found


def check_identity(output_dir: Path, identity: dict[str, Any]) -> None:
    """
    Compares what decides the result of a run with the values with which the run in `output_dir` was started.

    Raises:
        ValueError: a value differs; the message names each field with both values.
    """
    started = read_record(output_dir)["identity"]
    differing = [name for name in started.keys() | identity.keys() if started.get(name) != identity.get(name)]
    if differing:
        changes = "; ".join(f"{n} was {started.get(n)!r}, now {identity.get(n)!r}" for n in sorted(differing)[:5])
        raise ValueError(
            f"output_dir={output_dir} holds another run, so it cannot be resumed: {changes}. Give the same values, or "
            "name another directory"
        )


def start_run(
    output_dir: Path, identity: dict[str, Any], arguments: dict[str, Any], is_ours: Ours = is_run_entry
) -> None:
    """Deletes what an earlier run wrote, and writes run.json. From then on the directory belongs to the new run.

    Raises:
        FileExistsError: see `delete_run`.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    delete_run(output_dir, is_ours)
    write_record(output_dir, identity, arguments)


def delete_run(output_dir: Path, is_ours: Ours = is_run_entry) -> None:
    """Deletes what run.json records, as far as the package can have written it. Everything else stays.

    run.json stays, too, so that after a kill the directory is still known as the directory of a run.

    Raises:
        FileExistsError: a directory of the run holds something that the run did not write; then nothing is deleted.
    """
    directories = [path for name in recorded(output_dir) if (path := output_dir / name).is_dir()]
    of_the_run = [path for path in directories if not path.is_symlink() and is_ours(f"{path.name}/")]
    if foreign := [name for path in of_the_run for name in foreign_entries(path, is_ours, f"{path.name}/")]:
        raise FileExistsError(f"{output_dir / foreign[0]} is not deleted, because no run has written it; move it away")
    for name in sorted(recorded(output_dir) - {RUN_FILE}):
        remove(output_dir / name, is_ours)
