"""The files of a checkpoint's `training_state`: the optimizer, the random numbers, and where the run stood."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ...files import reading, write_json
from ..sharding import part_of, plain_names, whole
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
        optimizer_state: what `optimizer_tensors` returned.
        random_states: the random numbers of each process.
    """
    directory.mkdir()
    save_file(optimizer_state, directory / OPTIMIZER_FILE)
    flat = {f"{rank}.{name}": t for rank, tensors in enumerate(random_states) for name, t in tensors.items()}
    save_file(flat, directory / RANDOM_STATE_FILE)
    write_json(directory / STATE_FILE, state | {"processes": len(random_states)})


def read_state(
    checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, process: int, device: torch.device
) -> dict[str, Any]:
    """Restores the optimizer and the random numbers of this process; returns what `read_state_file` returns.

    Raises:
        ValueError: a file is damaged, or belongs to another model; the message names the file and the remedy.
    """
    directory, remedy = checkpoint / STATE, remedy_for(checkpoint)
    state = read_state_file(checkpoint)
    with reading(directory / OPTIMIZER_FILE, remedy):
        load_optimizer_tensors(model, optimizer, load_file(directory / OPTIMIZER_FILE))
    if process < state["processes"]:
        prefix = f"{process}."
        with reading(directory / RANDOM_STATE_FILE, remedy):
            saved = load_file(directory / RANDOM_STATE_FILE).items()
            set_random_state({n.removeprefix(prefix): t for n, t in saved if n.startswith(prefix)}, device)
    return state


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Returns the state of the optimizer as one flat mapping: `name of the parameter/name of the state` → tensor.

    Every process calls it, because the tensors of a divided model are put together.
    """
    names = plain_names(model)
    return {
        f"{names[parameter]}/{key}": whole(torch.as_tensor(value).detach()).cpu().contiguous()
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
    }


def load_optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> None:
    """
    Loads what `optimizer_tensors` returned.

    Raises:
        ValueError: the tensors belong to a model with other parameters.
    """
    named = {name: parameter for parameter, name in plain_names(model).items()}
    names = plain_names(model)
    parameters = [names[p] for group in optimizer.param_groups for p in group["params"]]
    states: dict[str, dict[str, torch.Tensor]] = {}
    for path, tensor in tensors.items():
        name, key = path.rsplit("/", 1)
        # What has the shape of the parameter is divided as the parameter is.
        divided = name in named and tensor.shape == named[name].shape
        states.setdefault(name, {})[key] = part_of(tensor, named[name]) if divided else tensor
    if unknown := states.keys() - set(parameters):
        raise ValueError(f"the optimizer's state is that of another model: it has {min(unknown)!r}")
    optimizer.load_state_dict(
        {
            "state": {i: states[name] for i, name in enumerate(parameters) if name in states},
            "param_groups": optimizer.state_dict()["param_groups"],
        }
    )
