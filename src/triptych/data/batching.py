"""Batches by a budget of tokens, bucketed by length (section 5.1 of "Attention Is All You Need").

A batch here is global: the pairs of ONE update of the weights. `shard` divides it over processes and accumulation
steps, so the order of the data and the size of an update do not depend on how many of them share the work.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

Lengths = Sequence[int] | np.ndarray  # a column of a `datasets` data set is a sequence


class TokenBudgetBatchSampler(Sampler[list[int]]):
    """Yields batches of row numbers whose padded size is at most `max_tokens`.

    The padded size of a batch is rows x (longest source + longest target). Rows are sorted by source length and,
    within one source length, by target length, upwards and downwards in turn, so that neighbours are alike on both
    sides; then cut greedily. Every row occurs once in an epoch. Each epoch permutes the rows of equal lengths and the
    batches, by (seed, epoch) alone. The lengths along the sorted order are always the same, therefore so are the
    cuts: every epoch has the same number of batches.

    Args:
        source_lengths, target_lengths: tokens of each row, special tokens included; shape (rows,).
        max_tokens: the budget of one update, source and target tokens together, padding included. (The paper counts
            each side for itself: 25,000 of each are `max_tokens=50000`.)
        shuffle: False gives the same batches in sorted order in every epoch, for evaluation.
        seed: of the order.

    Raises:
        ValueError: no rows, lengths that do not match or are not positive integers, a budget smaller than one pair.
    """

    def __init__(
        self,
        source_lengths: Lengths,
        target_lengths: Lengths,
        max_tokens: int,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        source, target = length_array("source_lengths", source_lengths), length_array("target_lengths", target_lengths)
        if len(source) != len(target):
            raise ValueError(f"{len(source)} source_lengths, but {len(target)} target_lengths; they must pair up")
        cost = source + target
        longest = int(cost.argmax())
        if cost[longest] > max_tokens:
            raise ValueError(
                f"row {longest + 1} alone costs {cost[longest]} tokens ({source[longest]} source, {target[longest]} "
                f"target), more than max_tokens={max_tokens}; {(cost > max_tokens).sum()} rows do. Set max_tokens to "
                f"{cost[longest]} or more, or drop or truncate the long pairs"
            )
        self.max_tokens, self.shuffle, self.seed, self.epoch = max_tokens, shuffle, seed, 0
        self.order = np.lexsort((np.where(source % 2, target, -target), source))
        source, target = source[self.order], target[self.order]
        # Rows of one cell have the same two lengths, hence are free to change places.
        changes = (np.diff(source) != 0) | (np.diff(target) != 0)
        self.cell = np.concatenate([[0], np.cumsum(changes)])
        self.bounds = cut_by_budget(source, target, max_tokens)

    def __len__(self) -> int:
        """Batches in an epoch: the same in each."""
        return len(self.bounds) - 1

    def set_epoch(self, epoch: int) -> None:
        """Fixes the order of the next iteration."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        order, batches = self.order, np.arange(len(self))
        if self.shuffle:
            random = np.random.default_rng((self.seed, self.epoch))
            order = order[np.lexsort((random.random(len(order)), self.cell))]
            batches = random.permutation(batches)
        for batch in batches:
            yield order[self.bounds[batch] : self.bounds[batch + 1]].tolist()


def length_array(name: str, lengths: Lengths) -> np.ndarray:
    """`lengths` as an int64 array; raises ValueError unless they are positive integers in one dimension."""
    array = np.asarray(lengths[:])  # a column gives its values fast in a slice, and slowly one by one
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} must have one length for each row, got shape {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be integers, got {array.dtype}")
    if array.min() < 1:
        raise ValueError(f"{name}: row {array.argmin() + 1} has {array.min()} tokens; every side needs at least one")
    return array.astype(np.int64)


def cut_by_budget(source: np.ndarray, target: np.ndarray, max_tokens: int) -> np.ndarray:
    """Cuts rows, in their order, into the longest runs within the budget; returns the bounds, from 0 to len(source).

    The cost of a run grows with every row, so the end is found by bisection in a window: one array operation for each
    batch, not one step for each row.
    """
    bounds = [0]
    while (start := bounds[-1]) < len(source):
        window = slice(start, start + max_tokens // (source[start] + target[start]))
        widest = np.maximum.accumulate(source[window]) + np.maximum.accumulate(target[window])
        cost = np.arange(1, len(widest) + 1) * widest
        bounds.append(start + int(np.searchsorted(cost, max_tokens, side="right")))
    return np.asarray(bounds)


def shard(batch: Sequence[int], rank: int, world_size: int, accumulation_steps: int = 1) -> list[list[int]]:
    """Returns the `accumulation_steps` pieces of a global batch that process `rank` works on.

    A batch is sorted by length. Each step takes a run of it, so that short pairs are not padded to the longest; the
    processes take the rows of the run in turn, so that they have equal work in each step. The sizes of pieces differ
    by one at most; in a batch with fewer rows than pieces some are empty.

    Raises:
        ValueError: `world_size` or `accumulation_steps` below 1, or `rank` outside [0, world_size).
    """
    if world_size < 1 or accumulation_steps < 1 or not 0 <= rank < world_size:
        raise ValueError(
            f"rank={rank}, world_size={world_size}, accumulation_steps={accumulation_steps}: needed are "
            "0 <= rank < world_size and at least one step"
        )
    bounds = [len(batch) * step // accumulation_steps for step in range(accumulation_steps + 1)]
    # The first process of a step gets the odd row; rotating gives each its share of those.
    return [
        list(batch[bounds[step] : bounds[step + 1]][(rank + step) % world_size :: world_size])
        for step in range(accumulation_steps)
    ]
