"""Attention kernels: a table of what each of them can do, and the functions that read it.

A kernel is an entry of transformers' `ALL_ATTENTION_FUNCTIONS`, which `attn_implementation` chooses. The table says
what the rest of the package has to know about a kernel before it calls it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import is_flash_attention_requested

from ..configuration import TriptychBaseConfig
from .runs import Runs

Attend = Callable[..., tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Kernel:
    """What an attention kernel can do.

    Args:
        bias: adds a `position_bias` to the scores.
        mask: takes a mask of who sees whom, (B, 1, T, S). For a kernel without masks, padding is cut out of the
            sequences.
        boundaries: takes `cu_seq_lens_q` and `cu_seq_lens_k`, which cut one flat row into sequences.
        wide_values: takes values that are wider than keys.
        static_cache: takes a static cache with keys that are not filled yet, because the mask hides them. A kernel
            without this ability must be told how many keys are filled.
        shared_bias: takes one bias for all rows of the batch.
        knows_requests: learns from an inference engine which tokens belong together.
    """

    bias: bool = True
    mask: bool = True
    boundaries: bool = False
    wide_values: bool = True
    static_cache: bool = True
    shared_bias: bool = True
    knows_requests: bool = False


FLASH = Kernel(bias=False, mask=False, boundaries=True, wide_values=False, static_cache=False)
PAGED = Kernel(bias=False, mask=True, knows_requests=True)

KERNELS = {
    "eager": Kernel(),
    "sdpa": Kernel(),
    "flex_attention": Kernel(shared_bias=False),
    "flash_attention_2": FLASH,
    "flash_attention_3": FLASH,
    "flash_attention_4": FLASH,
    "varlen": Kernel(bias=False, boundaries=True),
}


def kernel_of(implementation: str | None) -> Kernel:
    """What the kernel with this name can do.

    A kernel that is not in the table is classified by its name, as in transformers: `paged|…` is a kernel of
    transformers' inference engine, and flash attention from the Hub has "flash" in its name. All others are classified
    by the arguments of the registered function.
    """
    name = implementation or "sdpa"
    if name in KERNELS:
        return KERNELS[name]
    if name.startswith("paged|"):
        return PAGED
    if is_flash_attention_requested(requested_attention_implementation=name):
        return FLASH
    known = ALL_ATTENTION_FUNCTIONS.get(name)
    has_mask = name in ALL_MASK_ATTENTION_FUNCTIONS
    bias = known is None or "position_bias" in inspect.signature(known).parameters
    return Kernel(bias=bias, knows_requests=not has_mask)


def within_runs(attend: Attend, implementation: str | None) -> Attend:
    """The kernel with this name, so that it can be called with the mask of every kernel, also with `Runs`."""
    return partial(attend_within_runs, attend) if kernel_of(implementation).boundaries else attend


def attend_within_runs(
    attend: Attend,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,
    position_ids: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Calls a kernel that takes boundaries with the tokens of all sequences in one flat row.

    The kernel does not get `position_ids`, in which transformers would search for sequences in every layer.

    Args:
        mask: the `Runs` of queries and keys. Any other mask is passed on unchanged.

    query (B, H, T, d_k), key (B, G, S, d_k), value (B, G, S, d_v) → (B, T, H, d_v)
    """
    if not isinstance(mask, Runs):
        return attend(module, query, key, value, mask, **kwargs)
    flat = mask.queries.flatten(query), mask.keys.flatten(key), mask.keys.flatten(value)
    heads, weights = attend(module, *flat, None, **mask.arguments(), **kwargs)
    return mask.queries.unflatten(heads, query.shape[0], query.shape[2]), weights


def varlen_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: Tensor | None = None,
    cu_seq_lens_k: Tensor | None = None,
    max_length_q: int | None = None,
    max_length_k: int | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention with boundaries in plain torch, for every device. Tokens see only tokens of the same sequence.

    The sequences of a flat row are computed one after the other, so nothing is computed for padding or between
    sequences. Without boundaries, `sdpa` is called.

    query (1, H, N, d_k), key (1, G, M, d_k), value (1, G, M, d_v), boundaries (sequences + 1,) → (1, N, H, d_v)
    """
    if cu_seq_lens_q is None or cu_seq_lens_k is None:
        options = {"scaling": scaling, "dropout": dropout, "sliding_window": sliding_window}
        heads, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, attention_mask, **options, **kwargs)
        return heads, None
    queries, keys = (starts.diff().tolist() for starts in (cu_seq_lens_q, cu_seq_lens_k))
    pieces = zip(query.split(queries, 2), key.split(keys, 2), value.split(keys, 2), strict=True)
    is_causal, enable_gqa = bool(module.is_causal), key.shape[1] != query.shape[1]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = None if sliding_window is None else band(q, k, is_causal, sliding_window)
        rule = is_causal and mask is None
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, rule, scale=scaling, enable_gqa=enable_gqa)

    heads = [attend(*piece) for piece in pieces]
    if not heads:  # nothing but padding
        return query.new_zeros(1, 0, query.shape[1], value.shape[-1]), None
    return torch.cat(heads, dim=2).transpose(1, 2), None


def band(query: Tensor, key: Tensor, is_causal: bool, width: int) -> Tensor:
    """Which keys lie in the band around each query of one sequence: (T, S) of bools.

    Args:
        width: a query sees its own position and the `width - 1` positions before it. Unless `is_causal`, it also sees
            `width - 1` positions behind it.
    """
    distance = torch.arange(query.shape[2], device=query.device)[:, None] - torch.arange(
        key.shape[2], device=key.device
    )
    return (distance >= 0 if is_causal else distance > -width) & (distance < width)


def check_kernel(config: TriptychBaseConfig, implementation: str | None, adds_bias: bool) -> None:
    """Refuses a kernel that cannot compute what the configuration says.

    Args:
        adds_bias: whether the positions add a bias to the attention scores.

    Raises:
        ValueError: the kernel takes no bias, but there is one; or it takes no values that are wider than keys, but
            they are.
    """
    if implementation is None:
        return
    kernel = kernel_of(implementation)
    if adds_bias and not kernel.bias:
        raise ValueError(
            f"attn_implementation={implementation!r} cannot add the bias of positions={config.positions!r} to the "
            "attention scores; use sdpa, eager or flex_attention, or choose other positions"
        )
    if config.value_head_dim > config.head_dim and not kernel.wide_values:
        raise ValueError(
            f"attn_implementation={implementation!r} takes no values that are wider than keys, but value_head_dim="
            f"{config.value_head_dim} and head_dim={config.head_dim}; use sdpa, eager or flex_attention"
        )


def check_continuous_batching(config: TriptychBaseConfig, adds_bias: bool) -> None:
    """Refuses continuous batching (`generate_batch`, `cache_implementation="paged"`) for models that it cannot run.

    Raises:
        ValueError: the model is an encoder–decoder, its positions add a bias to the scores, or its values and keys
            have different widths.
    """
    if config.is_encoder_decoder:
        reason, remedy = "is for decoders, but this model also reads a source", "use generate with a padded batch"
    elif adds_bias:
        reason = f"cannot add the bias of positions={config.positions!r} to the attention scores"
        remedy = "use generate"
    elif config.value_head_dim != config.head_dim:
        widths = f"value_head_dim={config.value_head_dim} and head_dim={config.head_dim}"
        reason, remedy = f"keeps keys and values of one width, got {widths}", "use generate"
    else:
        return
    raise ValueError(f"continuous batching (generate_batch, cache_implementation='paged') {reason}; {remedy}")


def register_kernels() -> None:
    """Adds the kernels of this package to transformers' tables. It may be called repeatedly."""
    ALL_ATTENTION_FUNCTIONS.register("varlen", varlen_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register("varlen", sdpa_mask)
