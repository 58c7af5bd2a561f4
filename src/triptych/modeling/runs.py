"""The sequences of a batch in one flat row that is cut at boundaries, for attention kernels that take no mask.

Shapes: B batch, T positions, N tokens without padding, H heads, d width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Piece = tuple[tuple[int, int], Tensor]  # (row, document), and the indices of its tokens in the flattened batch


@dataclass(frozen=True)
class Boundaries:
    """Where sequences begin in a flat row.

    Args:
        starts: (sequences + 1,) int32, the index of the first token of each sequence, followed by N; `cu_seq_lens` in
            transformers.
        longest: the number of tokens of the longest sequence.
        index: (N,) the indices in the flattened batch of the tokens of the flat row; None: 0, 1, 2, …
    """

    starts: Tensor
    longest: int
    index: Tensor | None = None

    def flatten(self, x: Tensor) -> Tensor:
        """(B, H, T, d) → (1, H, N, d)"""
        flat = x.transpose(1, 2).flatten(0, 1)
        return (flat if self.index is None else flat[self.index]).transpose(0, 1)[None]

    def unflatten(self, heads: Tensor, rows: int, length: int) -> Tensor:
        """(1, N, H, d) → (B, T, H, d), with zeros at positions that are in no sequence."""
        if self.index is None:
            return heads.reshape(rows, length, *heads.shape[2:])
        whole = heads.new_zeros(rows * length, *heads.shape[2:])
        return whole.index_copy(0, self.index, heads[0]).unflatten(0, (rows, length))

    def to(self, device: Any, **kwargs: Any) -> "Boundaries":
        """The same on another device."""
        index = None if self.index is None else self.index.to(device, **kwargs)
        return Boundaries(self.starts.to(device, **kwargs), self.longest, index)


@dataclass(frozen=True)
class Runs:
    """The sequences of queries and of keys. The n-th sequence of queries sees the n-th sequence of keys."""

    queries: Boundaries
    keys: Boundaries

    def arguments(self) -> dict[str, Any]:
        """The arguments with which transformers gives boundaries to a kernel."""
        return {
            "cu_seq_lens_q": self.queries.starts,
            "cu_seq_lens_k": self.keys.starts,
            "max_length_q": self.queries.longest,
            "max_length_k": self.keys.longest,
        }

    def to(self, device: Any, **kwargs: Any) -> "Runs":
        """The same on another device."""
        return Runs(self.queries.to(device, **kwargs), self.keys.to(device, **kwargs))


def pieces_of(documents: Tensor, tokens: Tensor) -> list[Piece]:
    """The documents of a batch in order, without their masked tokens.

    Args:
        documents: (B, T) the document of each token, in memory of the CPU.
        tokens: (B, T) of bools, False for masked tokens, in memory of the CPU.
    """
    kept = tokens.flatten().nonzero()[:, 0]
    if not len(kept):
        return []
    rows, names = kept // tokens.shape[1], documents.flatten()[kept]
    cuts = ((rows.diff() != 0) | (names.diff() != 0)).nonzero()[:, 0] + 1
    first = F.pad(cuts, (1, 0))
    keys = zip(rows[first].tolist(), names[first].tolist(), strict=True)
    return list(zip(keys, kept.tensor_split(cuts), strict=True))


def has_hole(piece: Tensor) -> bool:
    """Whether masked tokens lie between the tokens of a document."""
    return len(piece) > 0 and int(piece[-1] - piece[0]) >= len(piece)


def boundaries_of(pieces: Sequence[Tensor], size: int, device: torch.device) -> Boundaries:
    """The boundaries of pieces that lie one after the other in a flat row.

    Args:
        pieces: the indices of their tokens in the flattened batch.
        size: the number of positions of the batch.
    """
    lengths = [len(piece) for piece in pieces]
    starts = F.pad(torch.tensor(lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32), (1, 0))
    index = torch.cat(list(pieces)) if pieces else torch.zeros(0, dtype=torch.long)
    is_whole = len(index) == size and torch.equal(index, torch.arange(size))
    where = None if is_whole else index.to(device, non_blocking=True)
    return Boundaries(starts.to(device, non_blocking=True), max(lengths, default=0), where)


def seen_pieces(queries: Sequence[Piece], keys: Sequence[Piece]) -> list[Tensor]:
    """For each document of the queries, the indices of the keys in the document with the same row and id."""
    found: dict[tuple[int, int], list[Tensor]] = {}
    for key, piece in keys:
        found.setdefault(key, []).append(piece)
    nothing = torch.zeros(0, dtype=torch.long)
    return [torch.cat(found.get(key, [nothing])) for key, _ in queries]
