"""Documents in a row, and the positions of tokens in them.

A document is a run of tokens with one document id. A masked token belongs to the document before it, so a mask with
holes never cuts a document in two. transformers separates the documents of a row only if there is neither a mask nor a
cache. This package always separates them, or raises an error.

Shapes: B batch, T positions, P positions in the cache, S positions of the memory.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NO_DOCUMENT = -1  # the document id of masked tokens before the first document


def starts(document_ids: Tensor) -> Tensor:
    """The positions at which a document begins: (B, T) → (B, T) of bools."""
    return F.pad(document_ids[:, 1:] != document_ids[:, :-1], (1, 0), value=True)


def is_prepared(attention_mask: Any) -> bool:
    """Whether a mask has the form that attention kernels take. A mask (B, S) of tokens has not.

    It is one mask for all layers, or a dictionary with one mask for each kind of layer.
    """
    return attention_mask is not None and len(getattr(attention_mask, "shape", ())) != 2


def own_tokens(attention_mask: Any, length: int) -> Tensor | None:
    """Which of the last `length` tokens are not masked: (B, P + T) → (B, T) of bools.

    None: there is no mask, or one that does not name tokens.
    """
    if attention_mask is None or is_prepared(attention_mask):
        return None
    mask: Tensor = attention_mask
    return mask[:, -length:].bool()


def check_attention_mask(name: str, mask: Any, rows: int, length: int, past: int | Tensor = 0) -> None:
    """Refuses a mask that does not fit `rows` rows of `length` tokens, with `past` earlier tokens in the cache.

    Raises:
        ValueError: the mask is neither (B, P + T) nor (B or 1, …, T, S), or has another number of rows or tokens.
    """
    if not isinstance(mask, Tensor):  # no mask, a mask of flex attention, or one mask for each kind of layer
        return
    shape, covered = tuple(mask.shape), mask.shape[-1]
    if mask.ndim == 4 and shape[0] in (1, rows):
        return
    if mask.ndim != 2 or shape[0] != rows:
        raise ValueError(
            f"{name} has the shape {shape}; it must be ({rows}, tokens seen so far), 1 for a token and 0 for padding, "
            f"or ({rows}, 1, queries, keys)"
        )
    if isinstance(past, int) and covered != past + length:  # the length of a static cache is a tensor on its device
        raise ValueError(f"{name} covers {covered} positions, not the {past + length} seen so far")


def skipped(tokens: Tensor) -> Tensor:
    """A masked token takes no position: (B, T) of bools → (B, T)."""
    return tokens.long().cumsum(-1)


def counted(tokens: Tensor) -> Tensor:
    """A masked token takes a position as any other does: (B, T) of bools → (B, T)."""
    return torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)


COUNTS = {"skipped": skipped, "counted": counted}


def positions_in_row(tokens: Tensor, masked_positions: str, document_ids: Tensor | None = None) -> Tensor:
    """The position of each token in its row or document: (B, T) → (B, T).

    Positions are 0, 1, 2, … from the first token of the row that is not masked, and from the start of each document.

    Args:
        tokens: (B, T) of bools, True for tokens that are not masked.
        masked_positions: whether masked tokens after the first token take a position; a key of `COUNTS`.
        document_ids: (B or 1, T) the documents, in which a masked token has the id of the document before it.
    """
    count = COUNTS[masked_positions](tokens)
    begins = tokens & (skipped(tokens) == 1)
    if document_ids is not None:
        begins = begins | starts(document_ids)
    return (count - torch.where(begins, count, 0).cummax(dim=-1)[0]).masked_fill(skipped(tokens) == 0, 0)


def within_documents(document_ids: Tensor, tokens: Tensor) -> Tensor:
    """Each masked token gets the document of the token before it: (B or 1, T), (B, T) of bools → (B, T)."""
    index = torch.arange(tokens.shape[1], device=tokens.device)
    last = torch.where(tokens, index, -1).cummax(dim=-1)[0]  # the index of the last unmasked token so far
    documents = document_ids.expand(tokens.shape).gather(-1, last.clamp(min=0))
    return documents.masked_fill(last < 0, NO_DOCUMENT)


def documents_by_positions(position_ids: Tensor, tokens: Tensor | None) -> Tensor:
    """The documents that positions imply: one begins at each unmasked token with the position 0.

    Other positions may jump or repeat, as they do under a mask with holes. Masked tokens belong to the document before
    them. position_ids (B or 1, T), tokens (B, T) of bools → (B or 1, T)
    """
    tokens = torch.ones_like(position_ids, dtype=torch.bool) if tokens is None else tokens
    is_first = skipped(tokens) == 1  # the first token of a row begins a document at any position
    return (tokens & ((position_ids == 0) | is_first)).long().cumsum(-1) - 1


def documents_between(starts: Tensor, length: int) -> Tensor:
    """The documents of one flat row, which begin at `starts`: (documents + 1,) → (1, T)."""
    return torch.searchsorted(starts[1:].contiguous(), torch.arange(length, device=starts.device), right=True)[None]


def same_document(queries: Tensor, keys: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """A mask function for transformers: queries with document ids (B, T) see keys (B, S) with the same id."""

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return queries[batch, query] == keys[batch, key]

    return sees
