"""The output directory of a run: whose it is, whether it may be written, and what identifies it."""

import time
from pathlib import Path
from typing import Any

from .checkpoints import last_checkpoint, remove_unfinished, step_directories
from .files import read_json, remove, write_json

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
TRACKER_DIRECTORY = "tensorboard"


def check_output_dir(output_dir: str | Path, resume: bool = False, overwrite: bool = False) -> None:
    """
    Says whether a run may use `output_dir`; changes nothing, so it can be asked before any long work.

    Raises:
        FileExistsError: the directory holds a run (and neither `resume` nor `overwrite` is given), or something that
            no run wrote.
        FileNotFoundError: `resume` is given, but there is no run.
        NotADirectoryError: it is a file.
    """
    path = Path(output_dir)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"output_dir={output_dir} is a file; name a directory")
    entries = sorted(e.name for e in path.iterdir()) if path.exists() else []
    if RUN_FILE in entries:
        if not (resume or overwrite):
            last = last_checkpoint(path)
            position = f"its last checkpoint is {last.name}" if last else "it has no checkpoint yet"
            raise FileExistsError(
                f"output_dir={output_dir} holds a run ({position}). Continue it with --resume, delete it and start "
                "over with --overwrite, or name another directory"
            )
        return
    # Logs that a shell or a scheduler puts there are in nobody's way.
    foreign = [
        name for name in entries if not name.startswith(".") and Path(name).suffix not in (".log", ".out", ".err")
    ]
    if foreign:
        raise FileExistsError(
            f"output_dir={output_dir} is not empty and holds no run (it has {', '.join(foreign[:3])}"
            f"{', ...' if len(foreign) > 3 else ''}); name another directory"
        )
    if resume:
        raise FileNotFoundError(f"there is no run to resume in output_dir={output_dir}; leave out --resume")


def check_identity(output_dir: Path, identity: dict[str, Any]) -> None:
    """
    Compares what decides a run's result with what the run in `output_dir` was started with.

    Raises:
        ValueError: something differs; the message names each field with both values.
    """
    started = read_json(output_dir / RUN_FILE)["identity"]
    differing = [name for name in started.keys() | identity.keys() if started.get(name) != identity.get(name)]
    if differing:
        changes = "; ".join(f"{n} was {started.get(n)!r}, now {identity.get(n)!r}" for n in sorted(differing)[:5])
        raise ValueError(
            f"output_dir={output_dir} holds another run, so it cannot be resumed: {changes}. Give the same values, or "
            "name another directory"
        )


def start_run(output_dir: Path, identity: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Writes run.json; from then on the directory is the run's. What an earlier run left is deleted."""
    delete_run(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    record = {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "identity": identity, "arguments": arguments}
    write_json(output_dir / RUN_FILE, record | {"files": []})


def claim_files(output_dir: Path) -> None:
    """Records what the directory holds as written by the run, so that `delete_run` deletes that and nothing else."""
    record = read_json(output_dir / RUN_FILE)
    record["files"] = sorted(e.name for e in output_dir.iterdir() if e.name != RUN_FILE and e.suffix != ".log")
    write_json(output_dir / RUN_FILE, record)


def delete_run(output_dir: Path) -> None:
    """Deletes what a run wrote, run.json last."""
    if not (output_dir / RUN_FILE).is_file():
        return
    own = {output_dir / METRICS_FILE, output_dir / TRACKER_DIRECTORY, *output_dir.glob("model*.safetensors*")}
    own.update(step_directories(output_dir, "checkpoint") + step_directories(output_dir, "best"))
    own.update(output_dir / Path(name).name for name in read_json(output_dir / RUN_FILE)["files"])
    for path in own:
        remove(path)
    remove_unfinished(output_dir)
    remove(output_dir / RUN_FILE)
