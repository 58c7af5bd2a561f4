"""Half precision: weights of several dtypes in one model, and sums that float16 cannot hold."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ..configuration import TriptychBaseConfig

FLOATS = (torch.float32, torch.float16, torch.bfloat16)  # linear maps compute in these; quantised weights have others


def as_weight(x: Tensor, module: nn.Module) -> Tensor:
    """x in the dtype of a module's weight, if maps compute in that dtype. Under autocast, x is returned unchanged."""
    weight = getattr(module, "weight", None)  # a quantised or wrapped layer may have none
    if not isinstance(weight, Tensor) or weight.dtype == x.dtype or weight.dtype not in FLOATS:
        return x
    chosen = x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)
    return x if chosen else x.to(weight.dtype)


def bounded(x: Tensor, always: bool) -> Tensor:
    """Clips x a little below 65504, the largest number of float16, so that it has no infinities.

    A tensor of another dtype is returned unchanged.

    Args:
        always: whether x is clipped even if nothing has overflowed, as in mBART and M2M-100. If not, x is clipped only
            if one of its numbers is infinite, as in T5, BART and Marian.
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
    """The functions that a layer applies to each sum on the residual path and to its output, for float16.

    Models like T5 limit each sum that has overflowed. In other encoder–decoders, the encoder limits the output of each
    layer, as in transformers' BART, Marian and mBART. In all other dtypes these functions change nothing.
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
        tensors: name → tensor. A tensor that has the dtype of its parameter already is skipped.
        narrower: whether a tensor of a narrower dtype than its parameter is taken as well.
    """
    for name, own in [*model.named_parameters(), *model.named_buffers()]:
        given = tensors.get(name)
        if given is None or given.dtype == own.dtype:
            continue
        if narrower or torch.promote_types(given.dtype, own.dtype) != own.dtype:
            own.data = given.detach().to(own.device, copy=True)
