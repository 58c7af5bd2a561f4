"""Half precision: weights of several dtypes in one model, and sums that float16 cannot hold."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ..configuration import TriptychBaseConfig

FLOATS = (torch.float32, torch.float16, torch.bfloat16)  # a linear map computes in these; a quantised map in others


def as_weight(x: Tensor, module: nn.Module) -> Tensor:
    """x in the dtype of a module's weight, if maps compute in that dtype. Under autocast x is returned as it is."""
    weight = getattr(module, "weight", None)  # a quantised or wrapped layer may have none
    if not isinstance(weight, Tensor) or weight.dtype == x.dtype or weight.dtype not in FLOATS:
        return x
    chosen = x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)
    return x if chosen else x.to(weight.dtype)


def bounded(x: Tensor, always: bool) -> Tensor:
    """x, if it is float16, cut a little below the largest number, 65504, so that it has no infinities.

    Args:
        always: cut also where nothing has overflowed, as mBART and M2M-100 do; otherwise only where something has, as
            T5, BART and Marian do.
    """
    if x.dtype != torch.float16:
        return x
    limit = torch.finfo(x.dtype).max - 1000
    cut = x.clamp(-limit, limit)
    return cut if always else torch.where(x.isinf().any(), cut, x)


def unlimited(x: Tensor) -> Tensor:
    """x itself."""
    return x


Limit = Callable[[Tensor], Tensor]


def limits_of(config: TriptychBaseConfig, is_causal: bool) -> tuple[Limit, Limit]:
    """What is done in a layer to each sum on the residual path, and to the output, so that float16 can hold them.

    Models like T5 limit each sum where it has overflowed. Other encoders of an encoder–decoder limit the output, as
    transformers' BART, Marian and mBART do. (What only float16 needs is the identity in every other dtype.)
    """
    if config.outgrows_float16:
        return partial(bounded, always=False), unlimited
    if config.is_encoder_decoder and not is_causal:
        return unlimited, partial(bounded, always=config.residual != "post")
    return unlimited, unlimited


@torch.no_grad()
def take_dtypes(model: nn.Module, tensors: Mapping[str, Tensor], narrower: bool = True) -> None:
    """Gives each parameter and buffer of a model the dtype and the values of the tensor with its name.

    Args:
        tensors: name → tensor. Those whose dtype is that of the model already are skipped.
        narrower: take tensors that have fewer bits than the model has now, too.
    """
    for name, own in [*model.named_parameters(), *model.named_buffers()]:
        given = tensors.get(name)
        if given is None or given.dtype == own.dtype:
            continue
        if narrower or torch.promote_types(given.dtype, own.dtype) != own.dtype:
            own.data = given.detach().to(own.device, copy=True)
