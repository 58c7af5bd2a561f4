"""Reading what the checkpoints of a run say, and refusing what cannot be true; nothing is restored or changed."""

from pathlib import Path
from typing import Any

from safetensors import safe_open

from ...files import check_model_files, check_tensors, read_object, reading, weight_files
from .checkpoints import remedy_for, step_directories, step_of
from .loop_state import check_best, check_state
from .record import BEST_FILE, OPTIMIZER_FILE, RANDOM_STATE_FILE, STATE, STATE_FILE, STATE_FILES


def check_checkpoints(output_dir: Path) -> None:
    """Looks at all files that a resumed run may read, without loading them.

    Raises:
        ValueError: a file is damaged; or there are checkpoints, but the run can continue from none of them.
        FileNotFoundError: a file is missing.
    """
    checkpoints = step_directories(output_dir, "checkpoint")
    for directory in [*checkpoints, *step_directories(output_dir, "best")]:
        remedy = remedy_for(directory)
        read_object(directory / "config.json", remedy)
        weight_files(directory, remedy)
        check_model_files(directory, remedy)
    for directory in step_directories(output_dir, "best"):
        read_best_file(directory)
    if not checkpoints:
        return
    newest, remedy = checkpoints[-1], remedy_for(checkpoints[-1])
    if not (newest / STATE).is_dir():
        raise FileNotFoundError(f"{newest / STATE} is missing; {remedy}")
    for name in (OPTIMIZER_FILE, RANDOM_STATE_FILE):
        check_tensors(newest / STATE / name, remedy)
    read_state_file(newest)


def read_state_file(checkpoint: Path) -> dict[str, Any]:
    """Returns the content of the state.json of a checkpoint: the fields of a `LoopState`, `processes` and `scaler`.

    Raises:
        ValueError: the file is damaged, or a value cannot be that of this checkpoint; see `check_state`.
    """
    directory, remedy = checkpoint / STATE, remedy_for(checkpoint)
    state = read_object(directory / STATE_FILE, remedy)
    random_state = directory / RANDOM_STATE_FILE
    with reading(random_state, remedy), safe_open(random_state, framework="pt") as tensors:
        processes = len({name.partition(".")[0] for name in tensors.keys()})  # noqa: SIM118 (it is no mapping)
    with reading(directory / STATE_FILE, remedy):
        check_state(state, step_of(checkpoint), processes)
    return state


def is_scheduled(checkpoint: Path) -> bool:
    """Says whether a checkpoint was due; of one whose state is removed, also in part, it is known to be so."""
    has_state = all((checkpoint / STATE / name).is_file() for name in STATE_FILES)
    return not has_state or bool(read_state_file(checkpoint)["scheduled"])


def read_best(output_dir: Path) -> dict[str, Any] | None:
    """Returns `step`, `metric`, `value` and all `metrics` of the best evaluation so far; None before the first.

    Raises:
        ValueError: best.json is damaged.
    """
    found = step_directories(output_dir, "best")
    return read_best_file(found[-1]) if found else None


def read_best_file(directory: Path) -> dict[str, Any]:
    """Returns the content of best.json in the directory of a best evaluation.

    Raises:
        ValueError: the file is damaged, or a value cannot be that of this directory; see `check_best`.
    """
    remedy = remedy_for(directory)
    best = read_object(directory / BEST_FILE, remedy)
    with reading(directory / BEST_FILE, remedy):
        check_best(best, step_of(directory))
    return best
