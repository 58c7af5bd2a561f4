"""Who sees whom: transformers' mask functions, asked for the two attentions of a stack.

Shapes: B batch, T positions of the stack, S positions of the memory, P positions in the cache, d residual width.
"""

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
from transformers.utils.generic import is_flash_attention_requested

from ..configuration import TriptychBaseConfig
from .documents import same_document, starts

CAUSAL = {"full_attention": create_causal_mask, "sliding_attention": create_sliding_window_causal_mask}
BIDIRECTIONAL = {
    "full_attention": create_bidirectional_mask,
    "sliding_attention": create_bidirectional_sliding_window_mask,
}


def check_attention_mask(name: str, mask: Any, rows: int, length: int, past: int | Tensor = 0) -> None:
    """Refuse a mask that does not fit `rows` of `length` tokens behind `past` others.

    Raises:
        ValueError: neither (B, P + T) nor (B or 1, …, T, S), or of other rows or another length.
    """
    if not isinstance(mask, Tensor):  # none, one of flex attention, or one per kind of layer
        return
    shape, covered = tuple(mask.shape), mask.shape[-1]
    if mask.ndim == 4 and shape[0] in (1, rows):
        return
    if mask.ndim != 2 or shape[0] != rows:
        raise ValueError(
            f"{name} has the shape {shape}; it must be ({rows}, tokens seen so far), 1 for a token and 0 for padding, "
            f"or ({rows}, 1, queries, keys)"
        )
    if (
        isinstance(past, int) and covered != past + length
    ):  # a static cache counts in a tensor, which is not waited for
        raise ValueError(f"{name} covers {covered} positions, not the {past + length} seen so far")


def self_attention_masks(
    config: TriptychBaseConfig,
    kinds: set[str],
    is_causal: bool,
    x: Tensor,
    attention_mask: Any,
    cache: Cache | None,
    documents: Tensor | None,
) -> dict[str, Any]:
    """One mask for each kind of layer, as the attention backend takes it (None: nothing is hidden, or all by rule).

    x (B, T, d), attention_mask (B, P + T) or as the backend takes it, documents (B, T)
    """
    options: dict[str, Any] = {"attention_mask": attention_mask, "past_key_values": cache}
    if documents is not None:
        runs = starts(documents).cumsum(-1)
        options["and_mask_function"] = same_document(runs, runs)
        if is_flash_attention_requested(config):  # it is told the documents, and what is masked, by their positions
            options["attention_mask"] = None
    if isinstance(attention_mask, dict):  # continuous batching
        return attention_mask
    if attention_mask is None and cache is not None and cache.is_compileable and is_flash_attention_requested(config):
        seen = int(cache.get_seq_length()) + x.shape[1]  # flash attention must be told that the rest is not filled yet
        options["attention_mask"] = torch.ones(x.shape[0], seen, dtype=torch.bool, device=x.device)
    create = CAUSAL if is_causal else BIDIRECTIONAL
    return {kind: create[kind](config=config, inputs_embeds=x, **options) for kind in kinds}


def memory_mask(
    config: TriptychBaseConfig,
    x: Tensor,
    memory: Tensor,
    attention_mask: Tensor | None,
    documents: Tensor | None,
    memory_documents: Tensor | None,
) -> Any:
    """Which positions of the memory (B, S, d) are seen from x (B, T, d): all but padding, and of the own document.

    Raises:
        ValueError: documents on one side only.
    """
    if (documents is None) != (memory_documents is None):
        raise ValueError(
            "the documents of one side are known and those of the other are not, so cross-attention would mix them; "
            "give both document_ids and decoder_document_ids"
        )
    own = None
    if documents is not None and memory_documents is not None:
        own = same_document(documents, memory_documents.expand(memory.shape[0], -1))
    return create_bidirectional_mask(
        config=config,
        inputs_embeds=x,
        attention_mask=attention_mask,
        encoder_hidden_states=memory,
        and_mask_function=own,
    )
