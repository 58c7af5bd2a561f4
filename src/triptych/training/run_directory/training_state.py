"""The files of a checkpoint's `training_state`: the optimizer, the random numbers, and where the run stood."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ...files import reading, write_json
from ..sharding import WholeModel
from .checkpoints import remedy_for
from .checks import read_state_file
from .random_numbers import set_random_state
from .record import OPTIMIZER_FILE, RANDOM_STATE_FILE, STATE, STATE_FILE


def write_state(
    directory: Path,
    state: dict[str, Any],
    optimizer_state: dict[str, torch.Tensor],
    random_states: list[dict[str, torch.Tensor]],
) -> None:
    """Writes all that a run needs beside the weights of its model.

    Args:
        optimizer_state: what `WholeModel.optimizer_tensors` returned.
        random_states: the random numbers of each process.
    """
    directory.mkdir()
    save_file(optimizer_state, directory / OPTIMIZER_FILE)
    flat = {f"{rank}.{name}": t for rank, tensors in enumerate(random_states) for name, t in tensors.items()}
    save_file(flat, directory / RANDOM_STATE_FILE)
    write_json(directory / STATE_FILE, state | {"processes": len(random_states)})


def read_state(checkpoint: Path, weights: WholeModel, process: int, device: torch.device) -> dict[str, Any]:
    """Restores the optimizer and the random numbers of this process; returns what `read_state_file` returns.

    Raises:
        ValueError: a file is damaged, or belongs to another model; the message names the file and the remedy.
    """
    directory, remedy = checkpoint / STATE, remedy_for(checkpoint)
    state = read_state_file(checkpoint)
    with reading(directory / OPTIMIZER_FILE, remedy):
        weights.load_optimizer_tensors(load_file(directory / OPTIMIZER_FILE))
    if process < state["processes"]:
        prefix = f"{process}."
        with reading(directory / RANDOM_STATE_FILE, remedy):
            saved = load_file(directory / RANDOM_STATE_FILE).items()
            set_random_state({n.removeprefix(prefix): t for n, t in saved if n.startswith(prefix)}, device)
    return state
