"""What an attention kernel must be able to do for a configuration, and what flash attention needs to do it."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..configuration import TriptychBaseConfig


def adds_position_bias(implementation: str) -> bool:
    """Whether a kernel adds a bias to the scores: those that do name it among their arguments; our eager one does."""
    if implementation in ALL_ATTENTION_FUNCTIONS:
        return "position_bias" in inspect.signature(ALL_ATTENTION_FUNCTIONS[implementation]).parameters
    return "flash" not in implementation and not implementation.startswith("paged|")


def check_backend(config: TriptychBaseConfig, implementation: str | None) -> None:
    """Refuse a kernel that would compute something else than the configuration says.

    Raises:
        ValueError: relative positions and a kernel without a bias, or flash attention and values wider than keys.
    """
    if implementation is None:
        return
    if config.positions == "relative" and not adds_position_bias(implementation):
        raise ValueError(
            f"attn_implementation={implementation!r} cannot add the bias of positions='relative' to the attention "
            "scores; use sdpa, eager or flex_attention, or choose other positions"
        )
    if "flash" in implementation and config.value_head_dim > config.head_dim:
        raise ValueError(
            f"attn_implementation={implementation!r} takes no values that are wider than keys, got value_head_dim="
            f"{config.value_head_dim} and head_dim={config.head_dim}; use sdpa, eager or flex_attention"
        )


def check_continuous_batching(config: TriptychBaseConfig) -> None:
    """Refuse continuous batching (`generate_batch`, `cache_implementation="paged"`) where it would go wrong.

    Raises:
        ValueError: two sequences per request, a bias on the scores, or values and keys of different widths.
    """
    if config.is_encoder_decoder:
        reason, remedy = "is for decoders, this model reads a source as well", "use generate with a padded batch"
    elif config.positions == "relative":
        reason, remedy = "cannot add the bias of positions='relative' to the attention scores", "use generate"
    elif config.value_head_dim != config.head_dim:
        widths = f"value_head_dim={config.value_head_dim} and head_dim={config.head_dim}"
        reason, remedy = f"keeps keys and values of one width, got {widths}", "use generate"
    else:
        return
    raise ValueError(f"continuous batching (generate_batch, cache_implementation='paged') {reason}; {remedy}")


def attend_to_tokens(
    attend: Callable[..., tuple[Tensor, Any]],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    is_token: Tensor,
    **kwargs: Any,
) -> tuple[Tensor, Any]:
    """Flash attention of all queries (B, H, T, d_k) to the keys (B, G, S, d_k) that are tokens, by a mask (B, S).

    Given the mask itself, transformers would leave out the same positions of the queries, another sequence.
    """
    rows, _, length, _ = query.shape
    counts = is_token.sum(-1, dtype=torch.int32)
    heads, weights = attend(
        module,
        query.transpose(1, 2).flatten(0, 1).transpose(0, 1)[None],
        *(x.transpose(1, 2)[is_token].transpose(0, 1)[None] for x in (key, value)),
        None,
        cu_seq_lens_q=torch.arange(0, (rows + 1) * length, length, dtype=torch.int32, device=query.device),
        cu_seq_lens_k=F.pad(counts.cumsum(0, dtype=torch.int32), (1, 0)),
        max_length_q=length,
        max_length_k=int(counts.max()),
        **kwargs,
    )
    return heads.view(rows, length, *heads.shape[2:]), weights
