"""Writing the directory of a model in one step, and reading weights into a model that is in use."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from ...files import AGAIN, TEMPORARY, Ours, put_in_place, reading, remove, short
from ..adapters import adapter_layers, load_merged_state, merged_state
from .record import ADAPTERS_FILE, STATE


def fresh_directory(path: Path, is_ours: Ours) -> Path:
    """Makes an empty directory, in the place of a directory that a killed run left.

    Raises:
        FileExistsError: something else stands there.
    """
    if remove(path, is_ours):
        raise FileExistsError(f"{path} is in the way; move it away")
    path.mkdir()
    return path


def save_model(model: Any, final: Path, fill: Callable[[Path], None], is_ours: Ours) -> None:
    """Writes the directory `final` in one step: weights and configuration, and what `fill` adds."""
    temporary = fresh_directory(final.with_name(final.name + TEMPORARY), is_ours)
    save_weights(model, temporary)
    fill(temporary)
    old = final.with_name(f"{final.name}.old{TEMPORARY}")  # where an earlier attempt at the same step stands meanwhile
    put_in_place(temporary, final, old, lambda path: is_ours(f"{final.name}/{path}"))


def save_weights(model: Any, directory: Path) -> None:
    """Writes weights and configuration into a directory; adapters are merged into the maps beside which they stand."""
    model.save_pretrained(directory, **({"state_dict": merged_state(model)} if adapter_layers(model) else {}))


def save_adapters(model: nn.Module, directory: Path) -> None:
    """Writes all trained parameters of a model with adapters, which the merged weights do not give back exactly."""
    if adapter_layers(model):
        trained = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}
        save_file(trained, directory / ADAPTERS_FILE)


def restore_weights(model: nn.Module, checkpoint: Path, remedy: str) -> None:
    """Gives a model the weights that it had when a checkpoint was written.

    Of a model with adapters, only what is trained is read: the frozen weights are those from which the run started.

    Raises:
        ValueError: a file is damaged, or belongs to another model; the message names the file and the remedy.
    """
    if not adapter_layers(model):
        return load_weights(model, checkpoint, remedy)
    file = checkpoint / STATE / ADAPTERS_FILE
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    with reading(file, remedy), torch.no_grad():
        stored = load_file(file)
        if {n: t.shape for n, t in stored.items()} != {n: p.shape for n, p in parameters.items()}:
            raise ValueError("its tensors are not those that this run trains")
        for name, parameter in parameters.items():
            parameter.copy_(stored[name])


def load_weights(model: nn.Module, directory: str | Path, remedy: str = AGAIN) -> None:
    """Copies the weights that `save_pretrained` wrote into a model that is in use; tied weights and shards, too.

    Raises:
        ValueError: weights are missing, or they are the weights of another model.
    """
    options = {"output_loading_info": True} if isinstance(model, PreTrainedModel) else {}
    stored = type(model).from_pretrained(directory, **options)  # type: ignore[attr-defined]
    if options:
        stored, report = stored
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"the weights in {directory} are damaged ({missing[0]!r} is missing); {remedy}")
    load = partial(load_merged_state, model) if adapter_layers(model) else model.load_state_dict
    try:
        load(stored.state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"the weights in {directory} are those of another model ({short(error)}); {remedy}"
        ) from error
