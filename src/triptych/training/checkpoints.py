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
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from ..files import (
    AGAIN,
    TEMPORARY,
    Ours,
    check_model_files,
    check_tensors,
    put_back,
    put_in_place,
    read_object,
    reading,
    remove,
    short,
    weight_files,
    write_json,
)
from .record import BEST_FILE, STATE, STATE_FILES, STEP_DIRECTORY, recorded
from .state import check_best, check_state

OPTIMIZER, RANDOM_STATE, STATE_FILE = STATE_FILES


def step_of(directory: Path) -> int:
    return int(directory.name.rsplit("-", 1)[1])


def step_directories(output_dir: Path, kind: str) -> list[Path]:
    """The complete directories `{kind}-STEP` that the run has written, in the order of their steps; no links."""
    names = {name for name in recorded(output_dir) if (m := STEP_DIRECTORY.fullmatch(name)) and m["kind"] == kind}
    found = [output_dir / name for name in names]
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=step_of)


def last_checkpoint(output_dir: Path) -> Path | None:
    """The newest checkpoint from which a run can continue."""
    resumable = [d for d in step_directories(output_dir, "checkpoint") if (d / STATE / STATE_FILE).is_file()]
    return resumable[-1] if resumable else None


def remedy_for(checkpoint: Path) -> str:
    """What to do when a checkpoint is damaged."""
    output_dir, steps = checkpoint.parent, step_directories(checkpoint.parent, "checkpoint")
    if not steps or checkpoint != steps[-1]:
        return f"delete {checkpoint} and resume: the run goes on without it"
    earlier = [d for d in steps[:-1] if all((d / STATE / name).is_file() for name in STATE_FILES)]
    if earlier:
        return f"delete {checkpoint} and resume: the run continues from {earlier[-1].name}, the one before"
    return (
        f"no earlier checkpoint in {output_dir} can be continued from, as only the newest keeps the optimizer's "
        "state: restore it from a copy, or start over with --overwrite or in another directory"
    )


def check_checkpoints(output_dir: Path) -> None:
    """Looks at all that a resumed run may read, without loading it.

    Raises:
        ValueError: a file is damaged; or there are checkpoints, but none from which the run can continue.
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
    for name in (OPTIMIZER, RANDOM_STATE):
        check_tensors(newest / STATE / name, remedy)
    read_state_file(newest)


def read_state_file(checkpoint: Path) -> dict[str, Any]:
    """The content of a checkpoint's state.json: a `LoopState`, `processes` and `scaler`; nothing is restored.

    Raises:
        ValueError: the file is damaged, or has a value that cannot be that of this checkpoint; see `check_state`.
    """
    directory, remedy = checkpoint / STATE, remedy_for(checkpoint)
    state = read_object(directory / STATE_FILE, remedy)
    with reading(directory / RANDOM_STATE, remedy), safe_open(directory / RANDOM_STATE, framework="pt") as tensors:
        processes = len({name.partition(".")[0] for name in tensors.keys()})  # noqa: SIM118 (it is no mapping)
    with reading(directory / STATE_FILE, remedy):
        check_state(state, step_of(checkpoint), processes)
    return state


def read_best(output_dir: Path) -> dict[str, Any] | None:
    """`step`, `metric`, `value` and all `metrics` of the best evaluation so far.

    Raises:
        ValueError: the record of it is damaged.
    """
    found = step_directories(output_dir, "best")
    return read_best_file(found[-1]) if found else None


def read_best_file(directory: Path) -> dict[str, Any]:
    """The content of best.json in the directory of a best evaluation.

    Raises:
        ValueError: it is damaged, or has a value that cannot be that of this directory; see `check_best`.
    """
    remedy = remedy_for(directory)
    best = read_object(directory / BEST_FILE, remedy)
    with reading(directory / BEST_FILE, remedy):
        check_best(best, step_of(directory))
    return best


def remove_unfinished(output_dir: Path, is_ours: Ours) -> list[str]:
    """Deletes what a killed run had begun to write, and returns the names; what it was replacing comes back."""
    for path in sorted(output_dir.iterdir()):
        name = path.name.removesuffix(f".old{TEMPORARY}")
        if name != path.name and STEP_DIRECTORY.fullmatch(name) and name in recorded(output_dir):
            put_back(output_dir / name, path)
    unfinished = [path for path in sorted(output_dir.iterdir()) if path.name.endswith(TEMPORARY)]
    return [path.name for path in unfinished if not remove(path, is_ours)]


def fresh_directory(path: Path, is_ours: Ours) -> Path:
    """Makes an empty directory, in the place of one that a killed run left.

    Raises:
        FileExistsError: there is something else.
    """
    if remove(path, is_ours):
        raise FileExistsError(f"{path} is in the way; move it away")
    path.mkdir()
    return path


def save_model(
    model: Any, final: Path, extras: Callable[[Path], None], fill: Callable[[Path], None], is_ours: Ours
) -> None:
    """Writes a model's directory in one step: weights and config, the task's `extras`, and what `fill` adds."""
    temporary = fresh_directory(final.with_name(final.name + TEMPORARY), is_ours)
    model.save_pretrained(temporary)
    extras(temporary)
    fill(temporary)
    old = final.with_name(f"{final.name}.old{TEMPORARY}")  # the same step of an earlier attempt
    put_in_place(temporary, final, old, lambda path: is_ours(f"{final.name}/{path}"))


def load_weights(model: nn.Module, directory: str | Path, remedy: str = AGAIN) -> None:
    """Copies the weights that `save_pretrained` wrote into a live model (tied weights and shards included).

    Raises:
        ValueError: weights of the model are missing, or they are those of another model.
    """
    options = {"output_loading_info": True} if isinstance(model, PreTrainedModel) else {}
    stored = type(model).from_pretrained(directory, **options)  # type: ignore[attr-defined]
    if options:
        stored, report = stored
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"the weights in {directory} are damaged ({missing[0]!r} is missing); {remedy}")
    try:
        model.load_state_dict(stored.state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"the weights in {directory} are those of another model ({short(error)}); {remedy}"
        ) from error


def write_state(
    directory: Path,
    state: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    random_states: list[dict[str, torch.Tensor]],
) -> None:
    """Writes all that a run needs beside its model's weights; `random_states` has one entry per process."""
    directory.mkdir()
    save_file(optimizer_tensors(model, optimizer), directory / OPTIMIZER)
    flat = {f"{rank}.{name}": t for rank, tensors in enumerate(random_states) for name, t in tensors.items()}
    save_file(flat, directory / RANDOM_STATE)
    write_json(directory / STATE_FILE, state | {"processes": len(random_states)})


def read_state(
    checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, process: int, device: torch.device
) -> dict[str, Any]:
    """Restores the optimizer and this process's random numbers; returns what `read_state_file` does.

    Raises:
        ValueError: a file is damaged, or that of another model; file and remedy are named.
    """
    directory, remedy = checkpoint / STATE, remedy_for(checkpoint)
    state = read_state_file(checkpoint)
    with reading(directory / OPTIMIZER, remedy):
        load_optimizer_tensors(model, optimizer, load_file(directory / OPTIMIZER))
    if process < state["processes"]:
        prefix = f"{process}."
        with reading(directory / RANDOM_STATE, remedy):
            saved = load_file(directory / RANDOM_STATE).items()
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
