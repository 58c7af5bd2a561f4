"""The names that a run writes in its directory, and run.json, which records those that this run has written.

A name is recorded before anything is written under it. A kill therefore leaves nothing whose writer is unknown. Only
what is recorded may be removed, and of that only what a run can have written: a name that the package uses, inside the
directory, and not a link.
"""

import os
import re
import time
from pathlib import Path
from typing import Any

from ...files import CHECKPOINT_ENTRY, TEMPORARY, is_plain, read_object, without_temporary, write_json

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
TRACKER_DIRECTORY = "tensorboard"
TEST_METRICS_FILE = "test_metrics.json"
BEST_FILE = "best.json"
STATE = "training_state"
STATE_FILES = ("optimizer.safetensors", "random_state.safetensors", "state.json")
OPTIMIZER_FILE, RANDOM_STATE_FILE, STATE_FILE = STATE_FILES
ADAPTERS_FILE = "adapters.safetensors"  # only where there are adapters
CARD_FILE = "README.md"
CURVE_FILE = "training_curve.png"
HF_DIRECTORY = "hf"  # the model as a class of transformers

# A run writes these names only where nothing stands under them that it has not written; so nothing is in its way.
YIELDING = frozenset({CARD_FILE, CURVE_FILE})

STEP_DIRECTORY = re.compile(r"(?P<kind>checkpoint|best)-(?P<step>0|[1-9][0-9]{0,17})")
# A run writes these names, and the names of CHECKPOINT_ENTRY, into its directory ...
_IN_THE_RUN = re.compile(
    r"run\.json|metrics\.jsonl|test_metrics\.json|test_(translations|predictions)\.(txt|jsonl)|README\.md|"
    r"training_curve\.png|"
    r"tensorboard/(events\.out\.tfevents\.[^/]+)?"
)
# ... and these, and the names of CHECKPOINT_ENTRY, into the directory of a step.
_IN_A_STEP = re.compile(
    rf"best\.json|{STATE}/((optimizer|adapters)\.safetensors|random_state\.safetensors|state\.json)?"
)
_REMEDY = "name another directory, or remove by hand what this one holds"


def is_run_entry(path: str) -> bool:
    """Says whether a run writes `path`, relative to its directory; the path of a directory ends in a slash."""
    if re.match(rf"((model|average){re.escape(TEMPORARY)}|{HF_DIRECTORY}({re.escape(TEMPORARY)})?)/", path):
        # The model for transformers, and an unfinished model, have the files of a step.
        path = f"best-0/{path.partition('/')[2]}"
    path = without_temporary(path)
    first, slash, rest = path.partition("/")
    if slash and STEP_DIRECTORY.fullmatch(first):
        return not rest or any(pattern.fullmatch(rest) for pattern in (CHECKPOINT_ENTRY, _IN_A_STEP))
    return any(pattern.fullmatch(path) for pattern in (CHECKPOINT_ENTRY, _IN_THE_RUN))


def read_record(output_dir: Path) -> dict[str, Any]:
    """Returns the content of run.json.

    Raises:
        ValueError: the file is damaged, or it is not the record of a run: `files` holds something that is not the
            plain name of an entry of the directory.
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
    """Returns the names that the run has written, or is about to write; without a run the set is empty."""
    return set(read_record(output_dir)["files"]) if (output_dir / RUN_FILE).is_file() else set()


def write_record(output_dir: Path, identity: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Writes run.json. From then on the directory belongs to the run."""
    record = {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "identity": identity, "arguments": arguments}
    write_json(output_dir / RUN_FILE, record | {"files": sorted([METRICS_FILE, TRACKER_DIRECTORY])})


def claim(output_dir: Path, *names: str) -> None:
    """Records names before they are written.

    Raises:
        FileExistsError: something stands under one of the names, and the run has not written it.
    """
    record = read_record(output_dir)
    new = set(names) - set(record["files"])
    if foreign := sorted(name for name in new if os.path.lexists(output_dir / name)):
        raise FileExistsError(
            f"{output_dir / foreign[0]} is not replaced, because this run has not written it; move it away"
        )
    if new:
        write_json(output_dir / RUN_FILE, record | {"files": sorted(new | set(record["files"]))})


def release(output_dir: Path, *names: str) -> None:
    """Takes names out of the record: whatever stands there later does not belong to the run."""
    record = read_record(output_dir)
    write_json(output_dir / RUN_FILE, record | {"files": sorted(set(record["files"]) - set(names))})
