"""Keys and values of earlier positions: which part of a cache a stack uses, and whether the cache fits the model."""

from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache

from ..configuration import TriptychBaseConfig


def check_past(config: TriptychBaseConfig, depth: int, cache: Any) -> None:
    """Refuse keys and values that were made for another model, as prefix tuning makes them from other numbers.

    Raises:
        ValueError: fewer layers than there are, another number of heads, or another width.
    """
    if type(cache) is not DynamicCache or not cache.layers or torch.compiler.is_compiling():
        return  # only this one takes what it is given; others are sized by the configuration
    keys, values = cache.layers[0].keys, cache.layers[0].values
    if keys is None or values is None or not keys.numel():
        return
    given = (len(cache.layers), keys.shape[1], keys.shape[-1], values.shape[-1])
    needed = (depth, config.num_key_value_heads, config.head_dim, config.value_head_dim)
    heads_fit = needed[1] % given[1] == 0  # a process of tensor parallelism has a part of them
    if given[0] < needed[0] or not heads_fit or given[2:] != needed[2:]:
        form = "{} layers of {} heads with keys of width {} and values of width {}".format
        raise ValueError(
            f"past_key_values have {form(*given)}, but the model has {form(*needed)}; for prefix tuning set "
            "num_layers, num_attention_heads and token_dim (heads times width) in its configuration, or, where values "
            "have another width than keys, choose another method"
        )


def own_cache(cache: Any) -> Any:
    """The part of a cache that holds keys and values of self-attention."""
    return cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
