"""Taking the tensors of a model, and building a model from tensors."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from ..modeling.precision import take_dtypes
from .table import CannotExpress


@contextmanager
def quiet() -> Iterator[None]:
    """Silences what transformers tells about a checkpoint; who calls it says which weights are new."""
    verbosity, shows_progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shows_progress:
            logging.enable_progress_bar()


def check_weights(model: PreTrainedModel) -> None:
    """Refuses a model whose weights cannot be rearranged.

    Raises:
        CannotExpress: the weights are quantised.
        ValueError: some weights are not in memory.
    """
    check_quantization(model.config)
    if absent := [name for name, tensor in model.state_dict().items() if tensor.is_meta]:
        raise ValueError(
            f"{type(model).__name__} has weights that are not in memory, such as {absent[0]} (device_map put them on "
            "the disk, or on the CPU while it computes elsewhere); load it without device_map"
        )


def check_quantization(config: PreTrainedConfig) -> None:
    """Raises CannotExpress if the weights are quantised."""
    if found := getattr(config, "quantization_config", None):
        method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
        raise CannotExpress(
            f"{config.model_type} with quantization_config ({getattr(method, 'value', method)}): quantised weights "
            "cannot be rearranged; convert the model before it is quantised"
        )


def take_weights(model: PreTrainedModel, keep: bool) -> dict[str, Tensor]:
    """All tensors of a model.

    Args:
        keep: copy the tensors. Otherwise the model loses them, so that each can be freed as soon as it is converted.
    """
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    if keep:
        copies = {place: t.clone() for place, t in {t.data_ptr(): t for t in state.values()}.items()}
        return {name: copies[tensor.data_ptr()] for name, tensor in state.items()}
    model.to_empty(device="meta")
    return state


def tensor_names(model_class: type[PreTrainedModel], config: PreTrainedConfig, **options: Any) -> list[str]:
    """The names of all tensors that a model with this configuration has; no memory is used for them."""
    with torch.device("meta"):
        return list(model_class(copy.deepcopy(config), **options).state_dict())


def build(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    tensors: dict[str, Tensor],
    dtype: torch.dtype,
    **result: Any,
) -> Any:
    """A model that holds these tensors, in evaluation mode; each tensor keeps its dtype.

    Args:
        dtype: the dtype of the model as a whole, which its configuration names.
        result: options of the resulting model, such as `device_map`.
    """
    shows_progress = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # the tensors are in memory already
    try:
        model = model_class.from_pretrained(None, config=config, state_dict=tensors, dtype=dtype, **result).eval()
    finally:
        if shows_progress:
            logging.enable_progress_bar()
    take_dtypes(model, tensors)
    separate(model)
    return model


def separate(model: PreTrainedModel) -> None:
    """Gives each parameter separate memory.

    Two parameters that are not tied, but were made from one tensor, would share its memory. Training would then change
    both, and `save_pretrained` would write only one of them.
    """
    seen = set()
    for parameter in model.parameters():  # tied weights are one parameter
        if parameter.device.type != "meta" and parameter.numel():
            if parameter.data_ptr() in seen:
                parameter.data = parameter.data.clone()
            seen.add(parameter.data_ptr())
