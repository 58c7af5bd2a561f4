"""
Checkpoints from which a run continues bit for bit.

    output_dir/checkpoint-STEP/                the model as `save_pretrained` writes it: loads by itself
    output_dir/checkpoint-STEP/training_state/ optimizer.safetensors, random_state.safetensors, state.json
    output_dir/best-STEP/                      the model of the best evaluation, with best.json

A directory is written under a temporary name and renamed when it is complete. Nothing is pickled.
"""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from .files import TEMPORARY, commit_directory, read_json, remove, write_json

STATE = "training_state"


def step_of(directory: Path) -> int:
    return int(directory.name.rsplit("-", 1)[1])


def step_directories(output_dir: Path, kind: str) -> list[Path]:
    """The complete directories `{kind}-STEP`, in the order of their steps."""
    found = [d for d in output_dir.glob(f"{kind}-*") if d.is_dir() and d.name.rsplit("-", 1)[1].isdigit()]
    return sorted(found, key=step_of)


def last_checkpoint(output_dir: Path) -> Path | None:
    """The newest checkpoint from which a run can continue."""
    resumable = [d for d in step_directories(output_dir, "checkpoint") if (d / STATE / "state.json").is_file()]
    return resumable[-1] if resumable else None


def remove_unfinished(output_dir: Path) -> list[str]:
    """Deletes what a killed run had begun to write; returns the names."""
    unfinished = sorted(output_dir.glob(f"*{TEMPORARY}"))
    for path in unfinished:
        remove(path)
    return [path.name for path in unfinished]


def save_model(model: Any, final: Path, extras: Callable[[Path], None], fill: Callable[[Path], None]) -> None:
    """Writes a model's directory in one step: weights and config, the task's `extras`, and what `fill` adds."""
    temporary = final.with_name(final.name + TEMPORARY)
    remove(temporary)
    temporary.mkdir(parents=True)
    model.save_pretrained(temporary)
    extras(temporary)
    fill(temporary)
    remove(final)  # the same step of an earlier attempt
    commit_directory(temporary, final)


def load_weights(model: nn.Module, directory: str | Path) -> None:
    """Copies the weights that `save_pretrained` wrote into a live model (tied weights and shards included)."""
    stored = type(model).from_pretrained(directory)  # type: ignore[attr-defined]
    model.load_state_dict(stored.state_dict())


def write_state(
    directory: Path,
    state: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    random_states: list[dict[str, torch.Tensor]],
) -> None:
    """Writes all that a run needs beside its model's weights; `random_states` has one entry per process."""
    directory.mkdir()
    save_file(optimizer_tensors(model, optimizer), directory / "optimizer.safetensors")
    flat = {f"{rank}.{name}": t for rank, tensors in enumerate(random_states) for name, t in tensors.items()}
    save_file(flat, directory / "random_state.safetensors")
    write_json(directory / "state.json", state | {"processes": len(random_states)})


def read_state(
    directory: Path, model: nn.Module, optimizer: torch.optim.Optimizer, process: int, device: torch.device
) -> dict[str, Any]:
    """Restores the optimizer and this process's random numbers; returns the state given to `write_state`."""
    state: dict[str, Any] = read_json(directory / "state.json")
    load_optimizer_tensors(model, optimizer, load_file(directory / "optimizer.safetensors"))
    if process < state["processes"]:
        saved = load_file(directory / "random_state.safetensors").items()
        prefix = f"{process}."
        set_random_state({n.removeprefix(prefix): t for n, t in saved if n.startswith(prefix)}, device)
    return state


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as one flat mapping `parameter's name/state's name` → tensor."""
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}/{key}": torch.as_tensor(value).detach().cpu().contiguous()
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
    }


def load_optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> None:
    """
    The reverse of `optimizer_tensors`.

    Raises:
        ValueError: the tensors belong to a model with other parameters.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    parameters = [names[p] for group in optimizer.param_groups for p in group["params"]]
    states: dict[str, dict[str, torch.Tensor]] = {}
    for path, tensor in tensors.items():
        name, key = path.rsplit("/", 1)
        states.setdefault(name, {})[key] = tensor
    if unknown := states.keys() - set(parameters):
        raise ValueError(f"the optimizer's state is that of another model: it has {min(unknown)!r}")
    optimizer.load_state_dict(
        {
            "state": {i: states[name] for i, name in enumerate(parameters) if name in states},
            "param_groups": optimizer.state_dict()["param_groups"],
        }
    )


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The state of every generator of random numbers that a process uses, as tensors."""
    _, python, python_gauss = random.getstate()
    _, key, position, has_gauss, gauss = numpy.random.get_state()
    state = {
        "python": torch.tensor(python, dtype=torch.int64),
        "python_gauss": torch.tensor(math.nan if python_gauss is None else python_gauss, dtype=torch.float64),
        "numpy": torch.tensor([*map(int, key), position, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor(gauss, dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        state["device"] = torch.get_device_module(device).get_rng_state(device).cpu()
    return state


def set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """The reverse of `random_state`."""
    gauss = state["python_gauss"].item()
    random.setstate((3, tuple(state["python"].tolist()), None if math.isnan(gauss) else gauss))
    *key, position, has_gauss = state["numpy"].tolist()
    numpy.random.set_state(
        ("MT19937", numpy.array(key, dtype=numpy.uint32), position, has_gauss, state["numpy_gauss"].item())
    )
    torch.set_rng_state(state["torch"])
    if device.type != "cpu" and "device" in state:
        torch.get_device_module(device).set_rng_state(state["device"], device)
