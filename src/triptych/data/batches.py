"""The updates of an epoch as one process sees them."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from .batching import TokenBudgetBatchSampler, shard


class MicroBatchSampler(Sampler[list[int]]):
    """Yields this process's pieces of every global batch from number `start` on, `accumulation_steps` for each."""

    def __init__(
        self, batches: TokenBudgetBatchSampler, rank: int, world_size: int, accumulation_steps: int, start: int = 0
    ) -> None:
        shard([], rank, world_size, accumulation_steps)  # complains about impossible numbers now, not in the loop
        self.batches, self.start = batches, start
        self.division = rank, world_size, accumulation_steps

    def __len__(self) -> int:
        return (len(self.batches) - self.start) * self.division[2]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in islice(self.batches, self.start, None):
            yield from shard(batch, *self.division)


class TranslationBatches:
    """Batches of one process, an update at a time: what the training loop iterates over.

    Do not pass it through `accelerator.prepare`: the data are already divided, and moving a piece to the device is
    the loop's work. It draws nothing from the global random number generators, so an epoch that is entered in its
    middle, after a resume, continues bit for bit.

    Args:
        dataset: rows with `input_ids` and `labels`, as `tokenize_pairs` gives them.
        sampler: the global batches.
        collate: list of rows (an empty one, too) to a dictionary of tensors: a `TranslationCollator`.
        rank, world_size: number of this process, of all processes.
        accumulation_steps: pieces into which a process cuts its part of an update.
        num_workers, pin_memory: as in `torch.utils.data.DataLoader`.
    """

    def __init__(
        self,
        dataset: Any,
        sampler: TokenBudgetBatchSampler,
        collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
        rank: int = 0,
        world_size: int = 1,
        accumulation_steps: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.dataset, self.sampler, self.collate = dataset, sampler, collate
        self.division = rank, world_size, accumulation_steps
        self.num_workers, self.pin_memory = num_workers, pin_memory
        MicroBatchSampler(sampler, *self.division)

    def set_epoch(self, epoch: int) -> None:
        """Fixes the order of the updates, by the sampler's seed and `epoch` alone."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        """Updates in an epoch: the same in each, and on every process."""
        return len(self.sampler)

    def updates(self, start: int = 0) -> Iterator[list[dict[str, Tensor]]]:
        """The updates of the epoch from number `start` on, each as the `accumulation_steps` pieces of this process."""
        pieces = iter(
            DataLoader(
                self.dataset,
                batch_sampler=MicroBatchSampler(self.sampler, *self.division, start),
                collate_fn=self.collate,
                generator=torch.Generator(),  # else creating the iterator draws from the global generator
                num_workers=self.num_workers,
                pin_memory=self.pin_memory,
            )
        )
        while update := list(islice(pieces, self.division[2])):
            yield update

    def __iter__(self) -> Iterator[list[dict[str, Tensor]]]:
        return self.updates()
