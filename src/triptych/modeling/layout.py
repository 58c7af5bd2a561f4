"""The layout of one side: where its tokens stand, which are masked, and which belong to one document.

A caller can say in three ways that a row holds several documents: by `document_ids`, by `position_ids` that return to
0, and by the boundaries that transformers' collators give (`cu_seq_lens_q`). A `Layout` is made of them once, where a
public model is entered; below that border nothing else travels.

Shapes: B batch, T positions, P positions in the cache.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.utils.import_utils import is_tracing

from ..configuration import TriptychBaseConfig
from .documents import (
    check_attention_mask,
    documents_between,
    documents_by_positions,
    is_prepared,
    own_tokens,
    positions_in_row,
    within_documents,
)
from .kernels import kernel_of
from .runs import Boundaries, Piece, boundaries_of, has_hole, pieces_of

# The arguments by which transformers' collators say where the sequences of one flat row begin. Queries and keys have
# the same boundaries within one side.
BOUNDARIES = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")


def take_boundaries(arguments: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Takes the arguments `BOUNDARIES` out of those of a call. An inference engine's stay: they are for its kernel."""
    if arguments.get("cache") is not None:
        return {}
    return {name: arguments.pop(f"{prefix}{name}", None) for name in BOUNDARIES}


@dataclass(frozen=True)
class Layout:
    """Where the tokens of one side stand, and which of them belong together.

    Args:
        position_ids: (B or 1, T) the position of each token in its document.
        attention_mask: (B, P + T), 1 for tokens and 0 for padding; or a mask as the attention kernel takes it.
        documents: (B, T) the document of each token; None: every row is one document.
        pieces: for a kernel that takes boundaries, the documents without their masked tokens, in memory of the CPU;
            None where nothing is masked and every row is one document.
        boundaries: likewise, where these begin in one flat row.
    """

    position_ids: Tensor
    attention_mask: Any = None
    documents: Tensor | None = None
    pieces: Sequence[Piece] | None = None
    boundaries: Boundaries | None = None

    def to(self, device: Any, **kwargs: Any) -> "Layout":
        """The same on another device; accelerate calls it for all that it gives to a module."""

        def move(x: Any) -> Any:
            return x.to(device, **kwargs) if hasattr(x, "to") else x

        moved = ("position_ids", "attention_mask", "documents", "boundaries")
        return replace(self, **{name: move(getattr(self, name)) for name in moved})


@dataclass(kw_only=True)
class Side:
    """What a caller says of the tokens of one side.

    Args:
        config: of the stack that reads the tokens.
        shape, device: (B, T), and where the tokens are.
        attention_mask, position_ids, document_ids: as `TransformerStack.forward` takes them.
        boundaries: the arguments `BOUNDARIES` of transformers, as far as they are given.
        cache: the keys and values of the P positions before these.
        first_position: what `position_ids` call the first position.
        is_served: whether an inference engine has arranged the tokens and tells its kernel how.
        mask_name: what the caller calls the attention mask, for errors.
    """

    config: TriptychBaseConfig
    shape: tuple[int, int]
    device: torch.device
    attention_mask: Any = None
    position_ids: Tensor | None = None
    document_ids: Tensor | None = None
    boundaries: Mapping[str, Any] = field(default_factory=dict)
    cache: Cache | None = None
    first_position: int = 0
    is_served: bool = False
    mask_name: str = "attention_mask"

    def __post_init__(self) -> None:
        self.kernel = kernel_of(self.config._attn_implementation)
        self.past: int | Tensor = 0 if self.cache is None else self.cache.get_seq_length()
        check_attention_mask(self.mask_name, self.attention_mask, *self.shape, self.past)
        tokens = own_tokens(self.attention_mask, self.shape[1])
        self.tokens = None if tokens is None else tokens.to(self.device)
        if self.starts is not None:
            self.check_boundaries(self.starts)

    @property
    def starts(self) -> Tensor | None:
        """The boundaries of a flat row, where the caller gives them: (documents + 1,)."""
        return self.boundaries.get("cu_seq_lens_q")

    def check_boundaries(self, starts: Tensor) -> None:
        """Refuses boundaries that are not those of one flat row of tokens.

        Raises:
            ValueError: there are document ids as well, or several rows; or the boundaries do not fit the tokens, or
                those of keys are not those of queries.
        """
        keys = self.boundaries.get("cu_seq_lens_k")
        if self.document_ids is not None:
            raise ValueError("document_ids and cu_seq_lens_q both say where documents begin; give one of them")
        if self.shape[0] != 1:
            raise ValueError(
                f"cu_seq_lens_q cuts one flat row (1, tokens) into documents, but there are {self.shape[0]} rows; "
                "give document_ids"
            )
        if starts.device.type != "cpu" or is_tracing(starts):  # else the device would have to be waited for
            return
        if int(starts[-1]) != self.shape[1] or (keys is not None and keys.tolist() != starts.tolist()):
            raise ValueError(
                f"cu_seq_lens_q={starts.tolist()} and cu_seq_lens_k={None if keys is None else keys.tolist()} must be "
                f"equal, and end with the {self.shape[1]} tokens of the row"
            )

    def said_documents(self) -> Tensor | None:
        """The documents as the caller says them, (B or 1, T); there may be only one in every row.

        Raises:
            ValueError: document ids of another shape, or beside a mask that says already who sees whom.
        """
        said = self.document_ids is not None or self.starts is not None
        if is_prepared(self.attention_mask) and said:
            raise ValueError(
                "attention_mask says already who sees whom, so document_ids have no say; leave one of them out, or "
                "give an attention_mask (B, T) of tokens"
            )
        if self.starts is not None:
            return self.unmasked(documents_between(self.starts.to(self.device), self.shape[1]))
        if self.document_ids is not None:
            ids = self.document_ids
            if ids.shape[1:] != self.shape[1:] or ids.shape[0] not in (1, self.shape[0]):
                raise ValueError(
                    f"document_ids has the shape {tuple(ids.shape)}, but the tokens have {tuple(self.shape)}"
                )
            return self.unmasked(ids.to(self.device))
        arranged = self.is_served or self.kernel.knows_requests or is_prepared(self.attention_mask)
        if arranged or self.position_ids is None or self.position_ids.shape[-1] == 1:
            return None
        documents = documents_by_positions(self.position_ids.to(self.device) - self.first_position, self.tokens)
        # A compiled step of generation cannot ask whether there are several, and there never are.
        return None if self.cache is not None and is_tracing(documents) else documents

    def unmasked(self, documents: Tensor) -> Tensor:
        """The documents, with masked tokens in the one before them."""
        return documents if self.tokens is None else within_documents(documents, self.tokens)

    @property
    def is_by_positions(self) -> bool:
        """Whether nothing but positions says where documents begin, so that there may be only one in every row."""
        return self.document_ids is None and self.starts is None

    def needs_pieces(self, documents: Tensor | None) -> bool:
        """Whether the kernel takes boundaries, and the CPU has to compute them."""
        arranged = self.is_served or self.cache is not None or is_prepared(self.attention_mask)
        if not self.kernel.boundaries or arranged or (documents is None and self.tokens is None):
            return False
        return not self.has_boundaries and not (is_tracing(documents) and self.kernel.mask)

    @property
    def has_boundaries(self) -> bool:
        """Whether the caller says all that a kernel with boundaries takes: where documents begin, and the longest."""
        return self.starts is not None and self.boundaries.get("max_length_q") is not None and self.tokens is None

    def questions(self, documents: Tensor | None) -> dict[str, Tensor]:
        """What the CPU has to know: name → tensor. A compiler cannot ask, and does without."""
        asked: dict[str, Tensor] = {}
        if self.needs_pieces(documents):
            whole = torch.zeros(self.shape, dtype=torch.long, device=self.device)
            asked["documents"] = whole if documents is None else documents.expand(self.shape)
            asked["tokens"] = whole == 0 if self.tokens is None else self.tokens
        if is_tracing(documents):
            return asked
        if documents is not None and self.is_by_positions:
            asked["has_several"] = (documents > 0).any()
        if self.first_position and self.position_ids is not None:
            low = self.position_ids.to(self.device) < self.first_position - 1
            asked["is_too_low"] = (low if self.tokens is None else low & self.tokens).any()
        return asked

    def layout(self, documents: Tensor | None, answers: Mapping[str, Tensor]) -> Layout:
        """The layout, by the answers to `questions`.

        Raises:
            ValueError: documents with a cache or with a kernel that would mix them; positions that begin too low.
        """
        self.check_positions(answers)
        if "has_several" in answers and not answers["has_several"]:
            documents = None
        if documents is not None:
            self.check_documents()
            documents = documents.expand(self.shape)
        pieces, boundaries = self.cut(documents, answers)
        return Layout(self.positions(documents), self.attention_mask, documents, pieces, boundaries)

    def cut(
        self, documents: Tensor | None, answers: Mapping[str, Tensor]
    ) -> tuple[Sequence[Piece] | None, Boundaries | None]:
        """The pieces and boundaries of a `Layout`; None and None where a mask, or nothing, tells the kernel."""
        if "documents" in answers:
            pieces, size = pieces_of(answers["documents"], answers["tokens"].bool()), self.shape[0] * self.shape[1]
            is_plain = documents is None and sum(len(piece) for _, piece in pieces) == size
            if is_plain or self.is_told_by_mask(pieces):
                return None, None
            return pieces, boundaries_of([piece for _, piece in pieces], size, self.device)
        if self.kernel.boundaries and self.has_boundaries and self.starts is not None:
            starts = self.starts.to(self.device, torch.int32)
            return None, Boundaries(starts, int(self.boundaries["max_length_q"]))
        return None, None

    def is_told_by_mask(self, pieces: Sequence[Piece]) -> bool:
        """Whether a band has holes. Its width counts masked tokens, and a kernel with boundaries would not see them.

        Raises:
            ValueError: the kernel takes no mask.
        """
        if self.config.sliding_window is None or not any(has_hole(piece) for _, piece in pieces):
            return False
        self.check_band()
        return True

    def check_positions(self, answers: Mapping[str, Tensor]) -> None:
        """Raises ValueError where a token has a position below the one that the model begins with."""
        if self.position_ids is not None and answers.get("is_too_low"):
            raise ValueError(
                f"position_ids of this model start at first_position_id={self.first_position}, as those of the model "
                f"that it was made from, got {int(self.position_ids.min())}; add {self.first_position} to each, or "
                "leave position_ids out"
            )

    def check_band(self) -> None:
        """Raises ValueError where the kernel would measure a band without the masked tokens that lie in it."""
        if not self.kernel.mask:
            raise ValueError(
                f"attn_implementation={self.config._attn_implementation!r} takes no masked tokens inside a document "
                f"where attention_pattern={self.config.attention_pattern} has a band, whose width counts them; use "
                "sdpa or flex_attention, or leave the masked tokens out"
            )

    def check_documents(self) -> None:
        """Raises ValueError where several documents in a row cannot be kept apart."""
        if self.cache is not None:
            raise ValueError(
                "several documents in a row (document_ids, or position_ids that return to 0) cannot be continued from "
                "past_key_values; leave out the cache, or give each document its own row"
            )
        if self.kernel.knows_requests:
            raise ValueError(
                f"attn_implementation={self.config._attn_implementation!r} would mix the documents of a row; use sdpa "
                "or flex_attention, or give each document its own row"
            )

    def positions(self, documents: Tensor | None) -> Tensor:
        """The positions that are given, with 0 for the first, or as `positions_in_row` counts them: (B or 1, T)."""
        length = self.shape[1]
        if self.position_ids is not None:
            return self.position_ids - self.first_position
        if self.attention_mask is not None and not is_prepared(self.attention_mask):
            tokens = self.attention_mask.to(self.device).bool()  # with those in the cache
        elif documents is not None:
            tokens = torch.ones_like(documents, dtype=torch.bool)
        else:
            return torch.arange(length, device=self.device)[None] + self.past
        return positions_in_row(tokens, self.config.masked_positions, documents)[:, -length:]


def lay_out(*sides: Side) -> list[Layout]:
    """The layout of each side. However many there are, the device is waited for once at most.

    Raises:
        ValueError: see `Side`.
    """
    documents = [side.said_documents() for side in sides]
    answers = fetch([side.questions(said) for side, said in zip(sides, documents, strict=True)])
    return [side.layout(said, known) for side, said, known in zip(sides, documents, answers, strict=True)]


def fetch(tables: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """The same tensors, of whole numbers, in memory of the CPU; all come with one transfer."""
    tensors = [tensor for table in tables for tensor in table.values()]
    if not tensors:
        return [{} for _ in tables]
    flat = torch.cat([tensor.flatten().long() for tensor in tensors]).cpu().split([t.numel() for t in tensors])
    fetched = iter([part.view(tensor.shape) for part, tensor in zip(flat, tensors, strict=True)])
    return [{name: next(fetched) for name in table} for table in tables]
