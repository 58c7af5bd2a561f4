"""run.json: what a run is, and the names in its directory that it has written.

A name is recorded before anything is written under it, so that a kill leaves nothing that nobody owns. Only what is
recorded may be removed, and of that only what a run can have written: names that the package uses, inside the
directory, and no links.
"""

import os
import re
import time
from pathlib import Path
from typing import Any

from ..files import CHECKPOINT_ENTRY, TEMPORARY, is_plain, read_object, without_temporary, write_json

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
TRACKER_DIRECTORY = "tensorboard"
BEST_FILE = "best.json"
STATE = "training_state"
STATE_FILES = ("optimizer.safetensors", "random_state.safetensors", "state.json")

STEP_DIRECTORY = re.compile(r"(?P<kind>checkpoint|best)-(?P<step>0|[1-9][0-9]{0,17})")
# Beside these a run writes what a checkpoint's directory has, into its own directory and into those of its steps.
_OWN = re.compile(
    r"run\.json|metrics\.jsonl|test_metrics\.json|test_translations\.txt|tensorboard/(events\.out\.tfevents\.[^/]+)?"
)
_IN_A_STEP = re.compile(rf"best\.json|{STATE}/(optimizer\.safetensors|random_state\.safetensors|state\.json)?")
_REMEDY = "name another directory, or remove by hand what this one holds"


def is_run_entry(path: str) -> bool:
    """Whether a run writes `path`, relative to its directory; a directory's path ends in a slash."""
    if re.match(rf"(model|average){re.escape(TEMPORARY)}/", path):  # a model on its way, as in a step's directory
        path = f"best-0/{path.partition('/')[2]}"
    path = without_temporary(path)
    first, slash, rest = path.partition("/")
    if slash and STEP_DIRECTORY.fullmatch(first):
        return not rest or any(pattern.fullmatch(rest) for pattern in (CHECKPOINT_ENTRY, _IN_A_STEP))
    return any(pattern.fullmatch(path) for pattern in (CHECKPOINT_ENTRY, _OWN))


def read_record(output_dir: Path) -> dict[str, Any]:
    """run.json, checked.

    Raises:
        ValueError: it is damaged, or not the record of a run: its `files` are not the names of a directory's entries.
    """
    path = output_dir / RUN_FILE
    record = read_object(path, _REMEDY)
    files, identity = record.get("files"), record.get("identity")
    if not isinstance(identity, dict) or not isinstance(files, list):
        raise ValueError(f"{path} is not the record of a run: it needs `identity` and `files`; {_REMEDY}")
    if strange := [name for name in files if not is_plain(name)]:
        raise ValueError(f"{path} is not the record of a run: {strange[0]!r} in `files` is no name; {_REMEDY}")
    return record


def recorded(output_dir: Path) -> set[str]:
    """The names of what the run has written into its directory, or is about to write; empty where there is no run."""
    return set(read_record(output_dir)["files"]) if (output_dir / RUN_FILE).is_file() else set()


def write_record(output_dir: Path, identity: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Writes run.json; from then on the directory is the run's."""
    record = {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "identity": identity, "arguments": arguments}
    write_json(output_dir / RUN_FILE, record | {"files": sorted([METRICS_FILE, TRACKER_DIRECTORY])})


def claim(output_dir: Path, *names: str) -> None:
    """Records names before they are written.

    Raises:
        FileExistsError: there is something of that name that the run has not written.
    """
    record = read_record(output_dir)
    new = set(names) - set(record["files"])
    if foreign := sorted(name for name in new if os.path.lexists(output_dir / name)):
        raise FileExistsError(
            f"{output_dir / foreign[0]} is not replaced, as this run has not written it; move it away"
        )
    if new:
        write_json(output_dir / RUN_FILE, record | {"files": sorted(new | set(record["files"]))})


def release(output_dir: Path, *names: str) -> None:
    """Takes names out of the record: what may come to stand there is not the run's."""
    record = read_record(output_dir)
    write_json(output_dir / RUN_FILE, record | {"files": sorted(set(record["files"]) - set(names))})
