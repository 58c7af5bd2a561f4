"""Who sees whom: the masks of self-attention and cross-attention in the form that the attention kernel takes.

Shapes: B batch, T positions of the stack, S positions of the memory, P positions in the cache, d residual width.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.masking_utils import (
    create_bidirectional_mask,
    create_bidirectional_sliding_window_mask,
    create_causal_mask,
    create_sliding_window_causal_mask,
)

from ..configuration import TriptychBaseConfig
from .documents import same_document, starts
from .kernels import kernel_of
from .layout import Layout
from .runs import Boundaries, Runs, boundaries_of, seen_pieces

CAUSAL = {"full_attention": create_causal_mask, "sliding_attention": create_sliding_window_causal_mask}
BIDIRECTIONAL = {
    "full_attention": create_bidirectional_mask,
    "sliding_attention": create_bidirectional_sliding_window_mask,
}


def self_attention_masks(
    config: TriptychBaseConfig, kinds: Iterable[str], is_causal: bool, x: Tensor, layout: Layout, cache: Any = None
) -> dict[str, Any]:
    """One mask for each kind of layer.

    A mask of None means that every token is seen, or that the kernel itself hides what a causal layer must not see. A
    kernel that takes boundaries gets `Runs` in place of a mask.

    Args:
        kinds: the kinds of layers, `full_attention` or `sliding_attention`.
        x: (B, T, d) the input of the layers, of which only shape, dtype and device matter.
        cache: the cache of the P earlier positions.
    """
    if isinstance(layout.attention_mask, dict):  # made by continuous batching, or before a compiled step
        return layout.attention_mask
    if layout.boundaries is not None:
        return dict.fromkeys(kinds, Runs(layout.boundaries, layout.boundaries))
    attention_mask = layout.attention_mask
    if attention_mask is None and cache is not None and cache.is_compileable:
        attention_mask = mask_of_filled(config, x, cache)
    options: dict[str, Any] = {"attention_mask": attention_mask, "past_key_values": cache}
    if layout.documents is not None:
        numbers = starts(layout.documents).cumsum(-1)
        options["and_mask_function"] = same_document(numbers, numbers)
    create = CAUSAL if is_causal else BIDIRECTIONAL
    return {kind: create[kind](config=config, inputs_embeds=x, **options) for kind in kinds}


def mask_of_filled(config: TriptychBaseConfig, x: Tensor, cache: Cache) -> Tensor | None:
    """The mask (B, P + T) that tells a kernel how much of a static cache is filled; None if it need not be told."""
    if kernel_of(config._attn_implementation).static_cache:
        return None
    return torch.ones(x.shape[0], int(cache.get_seq_length()) + x.shape[1], dtype=torch.bool, device=x.device)


def memory_mask(config: TriptychBaseConfig, x: Tensor, memory: Tensor, layout: Layout, source: Layout) -> Any:
    """Which positions of the memory (B, S, d) are seen from x (B, T, d): all of the same document, without padding.

    Args:
        layout: the layout of x.
        source: the layout of the memory.

    Raises:
        ValueError: the documents of only one side are known.
    """
    if (layout.documents is None) != (source.documents is None):
        raise ValueError(
            "the documents of one side are known and those of the other are not, so cross-attention would mix them; "
            "give both document_ids and decoder_document_ids"
        )
    # Without pieces, the boundaries are those of the caller: the n-th target belongs to the n-th source.
    by_number = layout.pieces is None or source.pieces is None
    if layout.boundaries is not None and source.boundaries is not None and by_number:
        return Runs(layout.boundaries, source.boundaries)
    if source.pieces is not None and (layout.documents is None or layout.pieces is not None):
        return memory_runs(x, memory, layout, source)
    within = None
    if layout.documents is not None and source.documents is not None:
        within = same_document(layout.documents, source.documents)
    return create_bidirectional_mask(
        config=config,
        inputs_embeds=x,
        attention_mask=source.attention_mask,
        encoder_hidden_states=memory,
        and_mask_function=within,
    )


def memory_runs(x: Tensor, memory: Tensor, layout: Layout, source: Layout) -> Runs:
    """The boundaries of the queries (B, T), and of the tokens in the memory (B, S) that each run of queries sees."""
    rows, length = x.shape[:2]
    assert source.pieces is not None
    if layout.pieces is not None and layout.boundaries is not None:
        queries, pieces = layout.boundaries, layout.pieces
    else:  # every row is one sequence, masked tokens included
        starts = torch.arange(0, (rows + 1) * length, length, dtype=torch.int32, device=x.device)
        queries, pieces = Boundaries(starts, length), [((row, 0), torch.empty(0)) for row in range(rows)]
    size = memory.shape[0] * memory.shape[1]
    return Runs(queries, boundaries_of(seen_pieces(pieces, source.pieces), size, x.device))
