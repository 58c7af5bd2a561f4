"""Batches by a budget of tokens, bucketed by length (section 5.1 of "Attention Is All You Need").

A batch here is global: the rows of ONE update of the weights. `Division` divides it over processes and accumulation
steps, so the order of the data and the size of an update do not depend on how many of them share the work.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from .quantities import counted

AT_ONCE = 500_000  # rows that are permuted at a time
Lengths = Sequence[int] | np.ndarray  # a column of a `datasets` data set is a sequence


class TokenBudgetBatchSampler(Sampler[list[int]]):
    """Yields batches of row numbers whose padded size is at most `max_tokens`.

    A row has one or more sides (a source and a target, or just a text). The padded size of a batch is rows x the sum
    of the longest row of each side. Rows are sorted by the length of the first side and, where it is equal, by the
    next side, upwards and downwards in turn, so that neighbours are alike on all sides; then they are cut greedily.
    Every row occurs once in an epoch. Each epoch permutes the rows of equal lengths and the batches, by (seed, epoch)
    alone. The lengths along the sorted order are always the same, therefore so are the cuts: every epoch has the same
    number of batches.

    Args:
        lengths: side → the tokens of each row, special tokens included; shape (rows,).
        max_tokens: the budget of one update over all sides, padding included. (The paper counts each side for itself:
            25,000 of each are `max_tokens=50000`.)
        shuffle: False gives the same batches in sorted order in every epoch, for evaluation.
        seed: decides the order.

    Raises:
        ValueError: there are no rows; the lengths of the sides do not match or are not positive integers; or the
            budget is smaller than one row.
    """

    def __init__(self, lengths: Mapping[str, Lengths], max_tokens: int, shuffle: bool = True, seed: int = 0) -> None:
        sides = [length_array(side, of_side) for side, of_side in lengths.items()]
        if len({len(side) for side in sides}) != 1:
            numbers = ", ".join(f"{len(side)} of {name}" for name, side in zip(lengths, sides, strict=True))
            raise ValueError(f"every row needs a length on each side, but the numbers of lengths are: {numbers}")
        cost = reduce(np.add, sides)
        longest = int(cost.argmax())
        if cost[longest] > max_tokens:
            parts = ", ".join(f"{side[longest]} {name}" for name, side in zip(lengths, sides, strict=True))
            cost_of_row, too_long = int(cost[longest]), int((cost > max_tokens).sum())
            raise ValueError(
                f"row {longest + 1} alone costs {counted(cost_of_row, 'tokens', 'd')} ({parts}), more than "
                f"max_tokens={max_tokens}; {counted(too_long, 'rows do', 'd', 'row does')}. Set max_tokens to "
                f"{cost_of_row} or more, or drop or truncate the long rows"
            )
        self.max_tokens, self.shuffle, self.seed, self.epoch = max_tokens, shuffle, seed, 0
        self.order = np.lexsort(boustrophedon(sides)[::-1]).astype(np.min_scalar_type(len(cost)))
        sides = [side[self.order] for side in sides]
        # Rows of one cell have the same lengths on all sides, hence they can change places.
        changes = np.logical_or.reduce([side[1:] != side[:-1] for side in sides])
        self.cells = np.concatenate([[0], np.flatnonzero(changes) + 1, [len(cost)]])  # where each begins, and the end
        self.bounds = cut_by_budget(sides, max_tokens)

    def __len__(self) -> int:
        """Returns the number of batches in an epoch: the same in each."""
        return len(self.bounds) - 1

    def set_epoch(self, epoch: int) -> None:
        """Fixes the order of the next iteration."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        order, batches = self.order, np.arange(len(self))
        if self.shuffle:
            random = np.random.default_rng((self.seed, self.epoch))
            order = self.permuted(random)
            batches = random.permutation(batches)
        for batch in batches:
            yield order[self.bounds[batch] : self.bounds[batch + 1]].tolist()

    def permuted(self, random: np.random.Generator) -> np.ndarray:
        """Returns `order` with the rows of each cell in a random order; it takes cells of about `AT_ONCE` rows at a
        time."""
        order, cells = self.order.copy(), self.cells
        first = 0
        while first < len(cells) - 1:
            last = max(int(np.searchsorted(cells, cells[first] + AT_ONCE, side="right")) - 1, first + 1)
            begin, end = cells[first], cells[last]
            cell = np.repeat(np.arange(last - first, dtype=np.int32), np.diff(cells[first : last + 1]))
            order[begin:end] = order[begin:end][np.lexsort((random.random(end - begin), cell))]
            first = last
        return order


def token_lengths(rows: Any, column: str) -> np.ndarray:
    """Returns the number of tokens in each row of a column of token lists of a `datasets.Dataset`; shape (rows,)."""
    import pyarrow.compute as pc

    chunks = [pc.list_value_length(table[column]) for table in rows.with_format("arrow").iter(batch_size=10_000)]
    return np.concatenate([chunk.to_numpy() for chunk in chunks]) if chunks else np.zeros(0, dtype=np.int64)


def length_array(side: str, lengths: Lengths) -> np.ndarray:
    """Returns `lengths` as an array of int32, or of int64 where numbers are large.

    Raises:
        ValueError: they are not positive integers in one dimension.
    """
    array = np.asarray(lengths[:])  # a column gives its values fast in a slice, and slowly one by one
    if array.ndim != 1 or not len(array):
        raise ValueError(f"the lengths of {side} must be one number for each row, got shape {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"the lengths of {side} must be integers, got {array.dtype}")
    if array.min() < 1:
        raise ValueError(f"{side}: row {array.argmin() + 1} has {array.min()} tokens; every side needs at least one")
    return array.astype(np.int32 if array.max() < 2**24 else np.int64, copy=False)  # sums fit, too


def boustrophedon(sides: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Keys by which to sort, the most important first: each side, upwards and downwards in turn.

    A side falls where the side before it is even, and rises where it is odd. So the end of one run of equal lengths
    is like the beginning of the next.
    """
    return [sides[0], *(np.where(before % 2, side, -side) for before, side in pairwise(sides))]


def cut_by_budget(sides: Sequence[np.ndarray], max_tokens: int) -> np.ndarray:
    """Cuts rows, in their order, into the longest runs within the budget; returns the bounds, from 0 to the last row.

    The cost of a run grows with every row, so the end is found by bisection in a window: one array operation for each
    batch, not one step for each row.
    """
    bounds = [0]
    while (start := bounds[-1]) < len(sides[0]):
        window = slice(start, start + max_tokens // sum(int(side[start]) for side in sides))
        widest: Any = np.sum([np.maximum.accumulate(side[window]) for side in sides], axis=0, dtype=np.int64)
        cost = np.arange(1, len(widest) + 1) * widest
        bounds.append(start + int(np.searchsorted(cost, max_tokens, side="right")))
    return np.asarray(bounds)


@dataclass(frozen=True)
class Division:
    """How an update is divided: process `rank` of `world_size` processes runs `accumulation_steps` pieces of it.

    Raises:
        ValueError: `world_size` or `accumulation_steps` is below 1, or `rank` is outside [0, world_size).
    """

    rank: int = 0
    world_size: int = 1
    accumulation_steps: int = 1

    def __post_init__(self) -> None:
        if self.world_size < 1 or self.accumulation_steps < 1 or not 0 <= self.rank < self.world_size:
            raise ValueError(
                f"rank={self.rank}, world_size={self.world_size}, accumulation_steps={self.accumulation_steps}: "
                "needed are 0 <= rank < world_size and at least one step"
            )

    def steps(self, rows: int) -> int:
        """Returns in how many pieces a batch with so many rows is cut; no further than to a row for each process."""
        return max(min(self.accumulation_steps, -(-rows // self.world_size)), 1)

    def pieces(self, batch: Sequence[int]) -> list[list[int]]:
        """Returns the pieces of a global batch that process `rank` works on: at most `accumulation_steps`.

        A batch is sorted by length. Each step takes a run of it, so that short rows are not padded to the longest; the
        processes take the rows of the run in turn, so that they have equal work in each step. The sizes of pieces
        differ by one at most. There are only so many pieces that each has a row on some process. They are as many on
        all processes, so a process without a row for one gets an empty piece.
        """
        steps = self.steps(len(batch))
        bounds = [len(batch) * step // steps for step in range(steps + 1)]
        # The first process of a step gets the odd row; rotating gives each its share of those.
        return [
            list(batch[bounds[step] : bounds[step + 1]][(self.rank + step) % self.world_size :: self.world_size])
            for step in range(steps)
        ]


def shard(batch: Sequence[int], rank: int, world_size: int, accumulation_steps: int = 1) -> list[list[int]]:
    """Returns the pieces of a global batch that process `rank` works on; see `Division`."""
    return Division(rank, world_size, accumulation_steps).pieces(batch)
