"""Packing: several documents in one row, none of which sees another.

A document is a run of tokens with one id, padding belongs to none. transformers separates the documents of a row only
where it sees neither a mask nor a cache; here they are separate always, or refused.

Shapes: B batch, T positions, S positions of the memory.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Cache
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.utils.import_utils import is_tracing

from ..configuration import TriptychBaseConfig

PADDING = -1  # the document of padding


def starts(document_ids: Tensor) -> Tensor:
    """Where a document begins: (B, T) → (B, T) of bools."""
    return F.pad(document_ids[:, 1:] != document_ids[:, :-1], (1, 0), value=True)


def positions_within(document_ids: Tensor) -> Tensor:
    """The position of each token in its own document, 0, 1, 2, …: (B, T) → (B, T)."""
    index = torch.arange(document_ids.shape[1], device=document_ids.device)
    return index - torch.where(starts(document_ids), index, 0).cummax(dim=1).values


def is_prepared(attention_mask: Any) -> bool:
    """Whether a mask is as the attention backend takes it, one or one per kind of layer; not (B, S) of tokens."""
    return attention_mask is not None and len(getattr(attention_mask, "shape", ())) != 2


def own_tokens(attention_mask: Tensor | None, length: int) -> Tensor | None:
    """The mask of the last `length` tokens: (B, P + T) → (B, T) of bools; None where nothing is padded or known."""
    if attention_mask is None or is_prepared(attention_mask):
        return None
    return attention_mask[:, -length:].bool()


def known_documents(
    document_ids: Tensor | None, position_ids: Tensor | None, attention_mask: Tensor | None, shape: tuple[int, ...]
) -> Tensor | None:
    """`document_ids`, or what position ids that start anew within a row say: (B or 1, T); None where no row has two.

    A compiler cannot ask; there every row with position ids is treated as if it might.

    Raises:
        ValueError: `document_ids` of another shape than the tokens.
    """
    documents = document_ids
    if documents is not None and (documents.shape[1:] != shape[1:] or documents.shape[0] not in (1, shape[0])):
        raise ValueError(f"document_ids has the shape {tuple(documents.shape)}, but the tokens have {tuple(shape)}")
    if documents is None:
        if position_ids is None or position_ids.shape[-1] == 1:
            return None
        follows = position_ids[:, 1:] == position_ids[:, :-1] + 1
        documents = F.pad(~follows, (1, 0)).cumsum(-1)
    tokens = own_tokens(attention_mask, documents.shape[1])
    if tokens is not None:
        documents = torch.where(tokens.to(documents.device), documents, PADDING)
    if document_ids is None and not is_tracing(documents):
        first = documents.masked_fill(documents == PADDING, documents.shape[1]).amin(-1)
        if (first >= documents.amax(-1)).all():
            return None
    return documents


def packed_documents(
    config: TriptychBaseConfig,
    document_ids: Tensor | None,
    position_ids: Tensor | None,
    attention_mask: Tensor | None,
    past_key_values: Cache | None,
    shape: tuple[int, ...],
) -> Tensor | None:
    """The documents that the caller has packed into rows of this shape: (B, T), or None where every row is one.

    Raises:
        ValueError: `document_ids` of another shape, a cache, or an attention backend that would mix the documents.
    """
    backend = str(config._attn_implementation)
    masked = backend in ALL_MASK_ATTENTION_FUNCTIONS  # else it knows the rows' documents by itself (paged attention)
    if is_prepared(attention_mask) and document_ids is not None:
        raise ValueError(
            "attention_mask says already who sees whom, so document_ids have no say; leave one of them out, or give "
            "an attention_mask (B, T) of tokens"
        )
    if document_ids is None and (not masked or is_prepared(attention_mask)):
        return None
    documents = known_documents(document_ids, position_ids, attention_mask, shape)
    if documents is None or (document_ids is None and past_key_values is not None and is_tracing(documents)):
        return None  # a compiled step of generation cannot ask, and has nothing packed
    if past_key_values is not None:
        raise ValueError(
            "several documents in a row (document_ids, or position_ids that start anew) cannot be continued from "
            "past_key_values; leave out the cache, or give each document its own row"
        )
    # Flash attention takes no mask; transformers tells it the documents of a single row, and by positions only.
    if not masked or ("flash" in backend and (shape[0] > 1 or config.is_encoder_decoder)):
        raise ValueError(
            f"attn_implementation={backend!r} would mix the documents of a row; use sdpa or flex_attention, or give "
            "each document its own row"
        )
    return documents.expand(shape)


def same_document(queries: Tensor, keys: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """A mask function of transformers: queries (B, T) see the keys (B, S) of their own document."""

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return queries[batch, query] == keys[batch, key]

    return sees
