"""The output directory of a run: whose it is, whether it may be written, and what identifies it."""

import os
from pathlib import Path
from typing import Any

from ..files import TEMPORARY, Ours, check_writable, foreign_entries, remove, without_temporary
from .checkpoints import check_checkpoints, last_checkpoint, step_of
from .record import RUN_FILE, STEP_DIRECTORY, is_run_entry, read_record, recorded, write_record


def check_output_dir(output_dir: str | Path, resume: bool = False, overwrite: bool = False) -> None:
    """
    Says whether a run may use `output_dir`; changes nothing, so it can be asked before any long work.

    Raises:
        FileExistsError: the directory holds a run (and neither `resume` nor `overwrite` is given), or something that
            no run wrote, or something under a name that the run needs.
        FileNotFoundError: `resume` is given, but there is no run; or a file of a checkpoint is missing.
        NotADirectoryError: it is a file, or a link to nothing.
        PermissionError: it cannot be written.
        ValueError: run.json is damaged; or `resume` is given, and a checkpoint is.
    """
    path = Path(output_dir)
    if os.path.lexists(path) and not path.is_dir():
        raise NotADirectoryError(f"output_dir={output_dir} is a file; name a directory")
    check_writable(path / RUN_FILE)
    entries = sorted(e.name for e in path.iterdir()) if path.exists() else []
    if RUN_FILE in entries:
        read_record(path)
        last = last_checkpoint(path)
        if not (resume or overwrite):
            position = f"its last checkpoint is {last.name}" if last else "it has no checkpoint yet"
            raise FileExistsError(
                f"output_dir={output_dir} holds a run ({position}). Continue it with --resume, delete it and start "
                "over with --overwrite, or name another directory"
            )
        if resume:
            check_checkpoints(path)
        if foreign := in_the_way(path, step_of(last) if resume and last else -1):
            raise FileExistsError(
                f"output_dir={output_dir} holds {', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}, which "
                "the run has not written and may have to; move it away, or name another directory"
            )
        return
    # Logs that a shell or a scheduler puts there are in nobody's way, nor is what a kill left of run.json.
    others = [
        name
        for name in entries
        if not (name.startswith(".") or Path(name).suffix in (".log", ".out", ".err"))
        and without_temporary(name) != RUN_FILE
    ]
    if others:
        raise FileExistsError(
            f"output_dir={output_dir} is not empty and holds no run (it has {', '.join(others[:3])}"
            f"{', ...' if len(others) > 3 else ''}); name another directory"
        )
    if resume:
        raise FileNotFoundError(f"there is no run to resume in output_dir={output_dir}; leave out --resume")


def in_the_way(output_dir: Path, after: int) -> list[str]:
    """Entries under names that a run writes, and that this one has not written; of steps only those `after` one."""
    own, found = recorded(output_dir), []
    for entry in sorted(output_dir.iterdir()):
        step = STEP_DIRECTORY.fullmatch(entry.name)
        is_named_so = any(is_run_entry(name) for name in (entry.name, f"{entry.name}/"))
        is_left_by_a_kill = entry.name.endswith(TEMPORARY)
        if not is_named_so or entry.name == RUN_FILE or (step and int(step["step"]) <= after):
            continue
        if entry.is_symlink() or not (entry.name in own or is_left_by_a_kill):
            found.append(entry.name)
    return found


def check_identity(output_dir: Path, identity: dict[str, Any]) -> None:
    """
    Compares what decides a run's result with what the run in `output_dir` was started with.

    Raises:
        ValueError: something differs; the message names each field with both values.
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
    """Writes run.json; from then on the directory is the run's. What an earlier run wrote is deleted.

    Raises:
        FileExistsError: see `delete_run`.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    delete_run(output_dir, is_ours)
    write_record(output_dir, identity, arguments)


def delete_run(output_dir: Path, is_ours: Ours = is_run_entry) -> None:
    """Deletes what a run wrote: what run.json records, as far as it is the package's. Everything else stays.

    run.json stays as well, so that a kill leaves a directory that is known as a run's.

    Raises:
        FileExistsError: there is something that the run did not write inside one of its directories; then nothing is
            deleted.
    """
    directories = [path for name in recorded(output_dir) if (path := output_dir / name).is_dir()]
    own = [path for path in directories if not path.is_symlink() and is_ours(f"{path.name}/")]
    if foreign := [name for path in own for name in foreign_entries(path, is_ours, f"{path.name}/")]:
        raise FileExistsError(f"{output_dir / foreign[0]} is not deleted, as no run has written it; move it away")
    for name in sorted(recorded(output_dir) - {RUN_FILE}):
        remove(output_dir / name, is_ours)
