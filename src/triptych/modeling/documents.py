"""Packing: several documents in one row, none of which sees another; and the positions of tokens in a row.

A document is a run of tokens with one id. A masked token has no document of its own: it lies within the one before it,
so a mask with holes never cuts a document in two. transformers separates the documents of a row only where it sees
neither a mask nor a cache; here they are separate always, or refused.

Shapes: B batch, T positions, P positions in the cache, S positions of the memory.
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

NO_DOCUMENT = -1  # of masked tokens before the first document


def starts(document_ids: Tensor) -> Tensor:
    """Where a document begins: (B, T) → (B, T) of bools."""
    return F.pad(document_ids[:, 1:] != document_ids[:, :-1], (1, 0), value=True)


def is_prepared(attention_mask: Any) -> bool:
    """Whether a mask is as the attention backend takes it, one or one per kind of layer; not (B, S) of tokens."""
    return attention_mask is not None and len(getattr(attention_mask, "shape", ())) != 2


def own_tokens(attention_mask: Tensor | None, length: int) -> Tensor | None:
    """The mask of the last `length` tokens: (B, P + T) → (B, T) of bools; None where nothing is padded or known."""
    if attention_mask is None or is_prepared(attention_mask):
        return None
    return attention_mask[:, -length:].bool()


def skipped(tokens: Tensor) -> Tensor:
    """A masked token takes no position: (B, T) of bools → (B, T)."""
    return tokens.long().cumsum(-1)


def counted(tokens: Tensor) -> Tensor:
    """A masked token takes a position as any other does: (B, T) of bools → (B, T)."""
    return torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)


COUNTS = {"skipped": skipped, "counted": counted}


def positions_in_row(tokens: Tensor, masked_positions: str, document_ids: Tensor | None = None) -> Tensor:
    """0, 1, 2, … from the first token of the row, or of each document, that is not masked: (B, T) → (B, T).

    Args:
        tokens: (B, T) of bools, which of them are not masked.
        masked_positions: whether masked tokens after the first take a position: the word in the configuration.
        document_ids: (B or 1, T) the documents as `known_documents` gives them.
    """
    count = COUNTS[masked_positions](tokens)
    begins = tokens & (skipped(tokens) == 1)
    if document_ids is not None:
        begins = begins | starts(document_ids)
    return (count - torch.where(begins, count, 0).cummax(dim=-1)[0]).masked_fill(skipped(tokens) == 0, 0)


def default_position_ids(
    config: TriptychBaseConfig,
    attention_mask: Tensor | None,
    length: int,
    past: int | Tensor,
    device: torch.device,
    document_ids: Tensor | None,
) -> Tensor:
    """The positions of tokens that come without any, (B or 1, T): see `positions_in_row`.

    Left padding changes nothing. Tokens in the cache are masked as (B, P + T) says.
    """
    if attention_mask is not None and not is_prepared(attention_mask):
        tokens = attention_mask.to(device).bool()
    elif document_ids is not None:
        tokens = torch.ones_like(document_ids, dtype=torch.bool)
    else:
        return torch.arange(length, device=device)[None] + past
    return positions_in_row(tokens, config.masked_positions, document_ids)[:, -length:]


def within_documents(document_ids: Tensor, tokens: Tensor) -> Tensor:
    """Each masked token gets the document of the token before it: (B or 1, T), (B, T) of bools → (B, T)."""
    index = torch.arange(tokens.shape[1], device=tokens.device)
    last = torch.where(tokens, index, -1).cummax(dim=-1)[0]  # the last token up to here
    documents = document_ids.expand(tokens.shape).gather(-1, last.clamp(min=0))
    return documents.masked_fill(last < 0, NO_DOCUMENT)


def known_documents(
    document_ids: Tensor | None, position_ids: Tensor | None, attention_mask: Tensor | None, shape: tuple[int, ...]
) -> Tensor | None:
    """`document_ids`, or what `position_ids` say, with masked tokens in the document before them: (B or 1, T).

    By position ids, a document begins at every token that is not masked and has the position 0. All other positions
    may jump or stand still, as they do under a mask with holes. None where no row has two documents. A compiler cannot
    ask; there every row with position ids is treated as if it might.

    Raises:
        ValueError: `document_ids` of another shape than the tokens.
    """
    tokens = own_tokens(attention_mask, shape[1])
    if document_ids is not None:
        if document_ids.shape[1:] != shape[1:] or document_ids.shape[0] not in (1, shape[0]):
            raise ValueError(
                f"document_ids has the shape {tuple(document_ids.shape)}, but the tokens have {tuple(shape)}"
            )
        return document_ids if tokens is None else within_documents(document_ids, tokens.to(document_ids.device))
    if position_ids is None or position_ids.shape[-1] == 1:
        return None
    begins = position_ids == 0
    if tokens is None:
        begins = F.pad(begins[:, 1:], (1, 0), value=True)  # the first token begins one wherever it stands
    else:
        tokens = tokens.to(position_ids.device)
        begins = tokens & (begins | (skipped(tokens) == 1))
    documents = begins.long().cumsum(-1) - 1
    return None if not is_tracing(documents) and (documents <= 0).all() else documents


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
        ValueError: `document_ids` of another shape, a cache, or an attention backend that would mix the documents or
            cannot take masked tokens inside one.
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
            "several documents in a row (document_ids, or position_ids that return to 0) cannot be continued from "
            "past_key_values; leave out the cache, or give each document its own row"
        )
    # Flash attention takes no mask; transformers tells it the documents of a single row, and by positions only.
    if not masked or ("flash" in backend and (shape[0] > 1 or config.is_encoder_decoder)):
        raise ValueError(
            f"attn_implementation={backend!r} would mix the documents of a row; use sdpa or flex_attention, or give "
            "each document its own row"
        )
    if "flash" in backend and cut_by_mask(documents, own_tokens(attention_mask, shape[1])):
        raise ValueError(
            f"attn_implementation={backend!r} takes no masked tokens inside a document of a row; use sdpa or "
            "flex_attention, or give each document its own row"
        )
    return documents.expand(shape)


def runs(documents: Tensor, tokens: Tensor | None) -> Tensor:
    """The documents as a kernel without a mask may see them, (B, T): masked tokens are in none, so they cut one."""
    return documents if tokens is None else documents.masked_fill(~tokens.to(documents.device), NO_DOCUMENT)


def cut_by_mask(documents: Tensor, tokens: Tensor | None) -> bool:
    """Whether masked tokens lie inside a document (B, T)."""
    if tokens is None:
        return False
    apart = runs(documents, tokens)
    return bool((starts(apart) & (apart != NO_DOCUMENT) & ~starts(documents)).any())


def kernel_positions(documents: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Positions that start anew with every document, and with every run of masked tokens: (B, T).

    By them, flash attention knows the documents of a row. Where tokens stand is another matter.
    """
    apart = runs(documents, own_tokens(attention_mask, documents.shape[1]))
    index = torch.arange(documents.shape[1], device=documents.device)
    return index - torch.where(starts(apart), index, 0).cummax(dim=-1)[0]


def same_document(queries: Tensor, keys: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """A mask function of transformers: queries (B, T) see the keys (B, S) of their own document."""

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return queries[batch, query] == keys[batch, key]

    return sees
