"""Attention kernels: one table of what each of them can do, and the functions that read it.

A kernel is an entry of transformers' `ALL_ATTENTION_FUNCTIONS`, chosen by `attn_implementation`. Here stands what the
rest of the package has to know about one before it is called.
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
        mask: takes a mask of who sees whom, (B, 1, T, S). Without it, padding can only be cut out of the sequences.
        boundaries: takes `cu_seq_lens_q` and `cu_seq_lens_k`, which cut one flat row into sequences.
        wide_values: takes values that are wider than keys.
        static_cache: takes keys of a static cache that are not filled yet, as the mask hides them. A kernel without it
            must be told how many are filled.
        shared_bias: takes a bias of one row for the whole batch.
        knows_requests: an inference engine tells it which tokens belong together.
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
    """What the kernel of a name can do.

    A kernel that is not in the table is classified as transformers does it: by its name (the kernels of transformers'
    engine are called `paged|…`, and flash attention from the Hub has "flash" in its name), else by the arguments of
    the registered function.
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


def attention_function(implementation: str | None, eager: Attend) -> Attend:
    """The kernel of a name, called with (module, query, key, value, mask, …); `eager` is the one of that name."""
    attend: Attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager)
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

    Such a kernel does not get `position_ids`: transformers would look there for sequences, in every layer.

    Args:
        mask: the `Runs` of queries and keys; anything else is passed on as it is.

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
    """Attention with boundaries in plain torch, for every device: no token of one sequence meets one of another.

    The sequences of a flat row are attended to one after the other, so nothing is computed for padding or between
    sequences. Without boundaries this is `sdpa`.

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
        width: a query sees its own position and `width - 1` positions before it, and as many behind it unless
            `is_causal`.
    """
    distance = torch.arange(query.shape[2], device=query.device)[:, None] - torch.arange(
        key.shape[2], device=key.device
    )
    return (distance >= 0 if is_causal else distance > -width) & (distance < width)


def check_kernel(config: TriptychBaseConfig, implementation: str | None, adds_bias: bool) -> None:
    """Refuses a kernel that would compute something else than the configuration says.

    Args:
        adds_bias: whether the scheme of positions adds a bias to the attention scores.

    Raises:
        ValueError: a bias for a kernel that takes none, or values wider than keys for a kernel that cannot have them.
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
            f"attn_implementation={implementation!r} takes no values that are wider than keys, got value_head_dim="
            f"{config.value_head_dim} and head_dim={config.head_dim}; use sdpa, eager or flex_attention"
        )


def check_continuous_batching(config: TriptychBaseConfig, adds_bias: bool) -> None:
    """Refuses continuous batching (`generate_batch`, `cache_implementation="paged"`) where it would go wrong.

    Raises:
        ValueError: two sequences per request, a bias on the scores, or values and keys of different widths.
    """
    if config.is_encoder_decoder:
        reason, remedy = "is for decoders, this model reads a source as well", "use generate with a padded batch"
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
    """Enters the kernels of this package in transformers' tables; safe to repeat."""
    ALL_ATTENTION_FUNCTIONS.register("varlen", varlen_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register("varlen", sdpa_mask)
