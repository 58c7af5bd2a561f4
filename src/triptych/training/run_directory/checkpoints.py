"""
The checkpoints of a run: which directories there are, and what to do where one is damaged.

    output_dir/checkpoint-STEP/                the model as `save_pretrained` writes it: it loads by itself
    output_dir/checkpoint-STEP/training_state/ optimizer.safetensors, random_state.safetensors, state.json
    output_dir/best-STEP/                      the model of the best evaluation, with best.json

A directory is written under a temporary name, and renamed when it is complete. Nothing is pickled. A run continues
from a checkpoint bit for bit.
"""

from pathlib import Path

from ...files import TEMPORARY, Ours, put_back, remove
from .record import STATE, STATE_FILE, STATE_FILES, STEP_DIRECTORY, recorded


def step_of(directory: Path) -> int:
    """Returns the number of updates after which the directory of a step was written."""
    return int(directory.name.rsplit("-", 1)[1])


def step_directories(output_dir: Path, kind: str) -> list[Path]:
    """Returns the complete directories `{kind}-STEP` of the run, in the order of their steps; links do not count."""
    names = {name for name in recorded(output_dir) if (m := STEP_DIRECTORY.fullmatch(name)) and m["kind"] == kind}
    found = [output_dir / name for name in names]
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=step_of)


def last_checkpoint(output_dir: Path) -> Path | None:
    """Returns the newest checkpoint from which a run can continue."""
    resumable = [d for d in step_directories(output_dir, "checkpoint") if (d / STATE / STATE_FILE).is_file()]
    return resumable[-1] if resumable else None


def remedy_for(checkpoint: Path) -> str:
    """Returns what a message advises where a checkpoint is damaged."""
    output_dir, steps = checkpoint.parent, step_directories(checkpoint.parent, "checkpoint")
    if not steps or checkpoint != steps[-1]:
        return f"delete {checkpoint} and resume: the run goes on without it"
    earlier = [d for d in steps[:-1] if all((d / STATE / name).is_file() for name in STATE_FILES)]
    if earlier:
        return f"delete {checkpoint} and resume: the run continues from {earlier[-1].name}, the one before"
    return (
        f"no earlier checkpoint in {output_dir} can be continued from, because only the newest one keeps the state of "
        "the optimizer: restore it from a copy, or start over with --overwrite or in another directory"
    )


def remove_unfinished(output_dir: Path, is_ours: Ours) -> list[str]:
    """Deletes what a killed run had begun to write, and returns the names. What it was replacing comes back."""
    for path in sorted(output_dir.iterdir()):
        name = path.name.removesuffix(f".old{TEMPORARY}")
        if name != path.name and STEP_DIRECTORY.fullmatch(name) and name in recorded(output_dir):
            put_back(output_dir / name, path)
    unfinished = [path for path in sorted(output_dir.iterdir()) if path.name.endswith(TEMPORARY)]
    return [path.name for path in unfinished if not remove(path, is_ours)]
