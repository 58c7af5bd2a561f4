"""The layout of one side: the positions of its tokens, which of them are masked, and which form one document.

A caller can say in three ways that a row holds several documents: with `document_ids`, with `position_ids` that return
to 0, or with the boundaries that transformers' collators give (`cu_seq_lens_q`). The `forward` of a public model makes
one `Layout` from them. All code below it uses only the `Layout`.

Shapes: B batch, T positions, P positions in the cache.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
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
    starts,
    within_documents,
)
from .kernels import kernel_of
from .runs import Boundaries, Piece, boundaries_of, has_hole, pieces_of

# The arguments with which transformers' collators say where the sequences of one flat row begin. Within one side,
# queries and keys have the same boundaries.
BOUNDARIES = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")


def take_boundaries(arguments: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Removes the arguments `BOUNDARIES` from those of a call and returns them.

    The boundaries of an inference engine are not removed, because they are for its kernel.
    """
    if arguments.get("cache") is not None:
        return {}
    return {name: arguments.pop(f"{prefix}{name}", None) for name in BOUNDARIES}


@dataclass(frozen=True)
class Layout:
    """The positions of the tokens of one side, and which of them belong together.

    Args:
        position_ids: (B or 1, T) the position of each token in its document.
        attention_mask: (B, P + T), 1 for tokens and 0 for padding; or a mask in the form that the kernel takes.
        documents: (B, T) the document of each token; None: every row is one document.
        pieces: for a kernel that takes boundaries, the documents without their masked tokens, in memory of the CPU;
            None: the kernel does not need them.
        boundaries: for a kernel that takes boundaries, the places in one flat row where the documents begin; None: the
            kernel gets no boundaries.
    """

    position_ids: Tensor
    attention_mask: Any = None
    documents: Tensor | None = None
    pieces: Sequence[Piece] | None = None
    boundaries: Boundaries | None = None

    def to(self, device: Any, **kwargs: Any) -> "Layout":
        """The same layout on another device. accelerate calls this for every argument of a module."""

        def move(x: Any) -> Any:
            return x.to(device, **kwargs) if hasattr(x, "to") else x

        moved = ("position_ids", "attention_mask", "documents", "boundaries")
        return replace(self, **{name: move(getattr(self, name)) for name in moved})


@dataclass(kw_only=True)
class Side:
    """What a caller says about the tokens of one side.

    Args:
        config: the configuration of the stack that reads the tokens.
        shape, device: the shape (B, T) and the device of the tokens.
        attention_mask, position_ids, document_ids: see `TransformerStack.forward`.
        boundaries: the arguments `BOUNDARIES`, as far as they are given.
        cache: the keys and values of the P earlier positions.
        first_position: the number of the first position in `position_ids`.
        is_served: whether an inference engine has arranged the tokens and tells its kernel how.
        mask_name: the name of the attention mask in errors.
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
        elif any(value is not None for value in self.boundaries.values()):
            given = [name for name, value in self.boundaries.items() if value is not None]
            raise ValueError(
                f"{', '.join(given)} without cu_seq_lens_q, which says where documents begin; give it, too"
            )

    @property
    def starts(self) -> Tensor | None:
        """The boundaries of a flat row, where the caller gives them: (documents + 1,)."""
        return self.boundaries.get("cu_seq_lens_q")

    def check_boundaries(self, starts: Tensor) -> None:
        """Refuses boundaries that do not fit one flat row of tokens.

        Raises:
            ValueError: there are document ids as well, or several rows; or the boundaries do not fit the tokens; or
                keys and queries have different boundaries.
        """
        keys = self.boundaries.get("cu_seq_lens_k")
        if self.document_ids is not None:
            raise ValueError("document_ids and cu_seq_lens_q both say where documents begin; give one of them")
        if self.shape[0] != 1:
            raise ValueError(
                f"cu_seq_lens_q cuts one flat row (1, tokens) into documents, but there are {self.shape[0]} rows; "
                "give document_ids"
            )
        if starts.device.type != "cpu" or is_tracing(starts):  # to read them, the CPU would wait for the device
            return
        cuts = starts.tolist()
        fits = cuts == sorted(cuts) and cuts[:1] == [0] and cuts[-1] == self.shape[1]
        if not fits or (keys is not None and keys.tolist() != cuts):
            raise ValueError(
                f"cu_seq_lens_q={cuts} and cu_seq_lens_k={None if keys is None else keys.tolist()} must be equal, "
                f"begin with 0, never decrease, and end with the {self.shape[1]} tokens of the row"
            )

    def given_documents(self) -> Tensor | None:
        """The documents that the caller gives or implies, (B or 1, T); None: none. Each row may hold only one.

        Raises:
            ValueError: document ids have another shape than the tokens, or the mask already says who sees whom.
        """
        said = self.document_ids is not None or self.starts is not None
        if is_prepared(self.attention_mask) and said:
            raise ValueError(
                "attention_mask already says who sees whom, so document_ids would have no effect; leave one of them "
                "out, or give an attention_mask (B, T) of tokens"
            )
        if self.starts is not None:
            return self.with_masked_tokens(documents_between(self.starts.to(self.device), self.shape[1]))
        if self.document_ids is not None:
            ids = self.document_ids
            if ids.shape[1:] != self.shape[1:] or ids.shape[0] not in (1, self.shape[0]):
                raise ValueError(
                    f"document_ids has the shape {tuple(ids.shape)}, but the tokens have {tuple(self.shape)}"
                )
            return self.with_masked_tokens(ids.to(self.device))
        arranged = self.is_served or self.kernel.knows_requests or is_prepared(self.attention_mask)
        if arranged or self.position_ids is None or self.position_ids.shape[-1] == 1:
            return None
        documents = documents_by_positions(self.position_ids.to(self.device) - self.first_position, self.tokens)
        # A compiled step of generation cannot find out whether there are several documents. It never has several.
        return None if self.cache is not None and is_tracing(documents) else documents

    def with_masked_tokens(self, documents: Tensor) -> Tensor:
        """The documents, in which each masked token gets the document before it."""
        return documents if self.tokens is None else within_documents(documents, self.tokens)

    def numbered(self, documents: Tensor | None) -> Tensor | None:
        """The documents of each row, numbered 0, 1, 2, … in their order: (B or 1, T)."""
        if documents is None or self.document_ids is None:
            return documents
        begins = starts(documents).long().cumsum(-1) - 1
        # Masked tokens at the beginning of a row are no document.
        return begins if self.tokens is None else begins - (~self.tokens[:, :1]).long()

    def number_of_documents(self, answers: Mapping[str, Tensor]) -> list[int] | None:
        """How many documents each row holds, where they are matched by their order and the CPU knows it."""
        if self.starts is not None:
            return [len(self.starts) - 1]
        return (answers["last"] + 1).tolist() if "last" in answers else None

    @property
    def is_by_positions(self) -> bool:
        """Whether only positions can say where documents begin. Then each row may hold only one document."""
        return self.document_ids is None and self.starts is None

    def needs_pieces(self, documents: Tensor | None) -> bool:
        """Whether the kernel takes boundaries that the CPU has to compute."""
        arranged = self.is_served or self.cache is not None or is_prepared(self.attention_mask)
        if not self.kernel.boundaries or arranged or (documents is None and self.tokens is None):
            return False
        return not self.has_boundaries and not (is_tracing(documents) and self.kernel.mask)

    @property
    def has_boundaries(self) -> bool:
        """Whether the caller gives all that the kernel needs: where documents begin, and the length of the longest."""
        return self.starts is not None and self.boundaries.get("max_length_q") is not None and self.tokens is None

    def needed_on_cpu(self, documents: Tensor | None) -> dict[str, Tensor]:
        """The tensors whose values the CPU needs in order to make the layout: name → tensor.

        In a compiled model the CPU cannot read values, so what it can do without is left out.
        """
        asked: dict[str, Tensor] = {}
        if self.needs_pieces(documents):
            whole = torch.zeros(self.shape, dtype=torch.long, device=self.device)
            asked["documents"] = whole if documents is None else documents.expand(self.shape)
            asked["tokens"] = whole == 0 if self.tokens is None else self.tokens
        if is_tracing(documents):
            return asked
        if documents is not None and self.is_by_positions:
            asked["last"] = documents.amax(dim=-1)
        if self.first_position and self.position_ids is not None:
            low = self.position_ids.to(self.device) < self.first_position - 1
            asked["is_too_low"] = (low if self.tokens is None else low & self.tokens).any()
        return asked

    def layout(self, documents: Tensor | None, answers: Mapping[str, Tensor]) -> Layout:
        """The layout for these documents.

        Args:
            answers: the values of the tensors of `needed_on_cpu`, in memory of the CPU.

        Raises:
            ValueError: there are documents with a cache, or with a kernel that would mix them; or positions begin too
                low.
        """
        self.check_positions(answers)
        if "last" in answers and not (answers["last"] > 0).any():
            documents = None
        if documents is not None:
            self.check_documents()
            documents = documents.expand(self.shape)
        pieces, boundaries = self.cut(documents, answers)
        return Layout(self.positions(documents), self.attention_mask, documents, pieces, boundaries)

    def cut(
        self, documents: Tensor | None, answers: Mapping[str, Tensor]
    ) -> tuple[Sequence[Piece] | None, Boundaries | None]:
        """The pieces and the boundaries of a `Layout`. Both are None if the kernel needs no boundaries."""
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
        """Whether there is a band with masked tokens in it, so that the kernel gets a mask instead of boundaries.

        The width of a band counts masked tokens, but they are missing in a row with boundaries.

        Raises:
            ValueError: the kernel takes no mask.
        """
        if self.config.sliding_window is None or not any(has_hole(piece) for _, piece in pieces):
            return False
        self.check_band()
        return True

    def check_positions(self, answers: Mapping[str, Tensor]) -> None:
        """Raises ValueError if a token has a position below the first position of the model."""
        if self.position_ids is not None and answers.get("is_too_low"):
            raise ValueError(
                f"position_ids of this model start at first_position_id={self.first_position}, as in the model that "
                f"it was made from, got {int(self.position_ids.min())}; add {self.first_position} to each, or "
                "leave position_ids out"
            )

    def check_band(self) -> None:
        """Raises ValueError if the kernel would not count the masked tokens in a band."""
        if not self.kernel.mask:
            raise ValueError(
                f"attn_implementation={self.config._attn_implementation!r} takes no masked tokens inside a document "
                f"if attention_pattern={self.config.attention_pattern} has a band, because its width counts them; use "
                "sdpa or flex_attention, or leave the masked tokens out"
            )

    def check_documents(self) -> None:
        """Raises ValueError if several documents in a row cannot be kept apart."""
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
        """The positions of the tokens, from 0: (B or 1, T). If none are given, `positions_in_row` counts them."""
        length = self.shape[1]
        if self.position_ids is not None:
            return self.position_ids - self.first_position
        if self.attention_mask is not None and not is_prepared(self.attention_mask):
            tokens = self.attention_mask.to(self.device).bool()  # including the tokens in the cache
        elif documents is not None:
            tokens = torch.ones_like(documents, dtype=torch.bool)
        else:
            return torch.arange(length, device=self.device)[None] + self.past
        return positions_in_row(tokens, self.config.masked_positions, documents)[:, -length:]


def check_one_document(head: str, *layouts: Layout) -> None:
    """Refuses several documents in a row of a head that gives one answer for a row. A compiled model cannot look.

    Raises:
        ValueError: names the head.
    """
    for layout in layouts:
        if layout.documents is not None and not is_tracing(layout.documents):
            raise ValueError(
                f"{head} gives one answer for a row, but a row holds several documents (document_ids, cu_seq_lens_q, "
                "or position_ids that return to 0); give each document its own row"
            )


def lay_out(*sides: Side) -> list[Layout]:
    """The layout of each side. The CPU waits for the device at most once, for all sides together.

    Raises:
        ValueError: see `Side.given_documents` and `Side.layout`.
    """
    documents = [side.given_documents() for side in sides]
    if len({side.document_ids is None for side in sides}) > 1:  # ids on one side alone cannot match those of the other
        documents = [side.numbered(said) for side, said in zip(sides, documents, strict=True)]
    answers = fetch([side.needed_on_cpu(said) for side, said in zip(sides, documents, strict=True)])
    check_as_many([side.number_of_documents(known) for side, known in zip(sides, answers, strict=True)])
    return [side.layout(said, known) for side, said, known in zip(sides, documents, answers, strict=True)]


def check_as_many(numbers: Sequence[list[int] | None]) -> None:
    """Refuses sides with different numbers of documents, of which each belongs to the one of the same place.

    Args:
        numbers: of each side, the number of documents in each row; None where it is not known.

    Raises:
        ValueError: names both numbers.
    """
    for first, second in pairwise(numbers):
        if first is None or second is None or max(first) < 2 or max(second) < 2:
            continue
        for sources, targets in zip(first, second, strict=False):
            if sources != targets:
                raise ValueError(
                    f"there are {sources} documents in a row of the source, but {targets} in that of the target; each "
                    "target needs its own source"
                )


def fetch(tables: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """The same tensors as whole numbers in memory of the CPU. One transfer fetches all of them."""
    tensors = [tensor for table in tables for tensor in table.values()]
    if not tensors:
        return [{} for _ in tables]
    flat = torch.cat([tensor.flatten().long() for tensor in tensors]).cpu().split([t.numel() for t in tensors])
    fetched = iter([part.view(tensor.shape) for part, tensor in zip(flat, tensors, strict=True)])
    return [{name: next(fetched) for name in table} for table in tables]
