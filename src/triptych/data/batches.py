"""The updates of an epoch as one process sees them: of rows whose number is known, or of a stream."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Sampler, get_worker_info

from .batching import Division, TokenBudgetBatchSampler

Collate = Callable[[list[dict[str, Any]]], dict[str, Tensor]]
AT_ONCE = 100  # examples of a stream of `datasets` that are read together
WHOLE = Division()  # one process, one piece


def set_epoch_of(part: Any, epoch: int) -> None:
    """Calls `set_epoch` of a part that draws random numbers; another part has no such method."""
    if hasattr(part, "set_epoch"):
        part.set_epoch(epoch)


def leave_the_group(worker: int) -> None:
    """Lets a data worker not get the signals of the terminal or the launcher: the training ends it when it stops."""
    if hasattr(os, "setsid"):
        os.setsid()


class Divided:
    """
    What all batches have in common: how an update is divided, and who makes it.

    Args:
        division: which part of each update this process runs, and in how many pieces.
        num_workers: processes that make the pieces ahead of time; 0: this process makes them. The result is the same.
        pin_memory: as in `torch.utils.data.DataLoader`.
    """

    def __init__(self, division: Division = WHOLE, num_workers: int = 0, pin_memory: bool = False) -> None:
        self.division, self.num_workers, self.pin_memory = division, num_workers, pin_memory

    def cut_into(self, pieces: int) -> None:
        """Cuts the updates that are made from now on into so many pieces for each process."""
        self.division = replace(self.division, accumulation_steps=pieces)

    def loaded(self, dataset: Any, **options: Any) -> Iterator[Any]:
        """Goes through a data set with torch's `DataLoader`."""
        loader = DataLoader(
            dataset,
            generator=torch.Generator(),  # else creating the iterator draws from the global generator
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            worker_init_fn=leave_the_group,
            **options,
        )
        return iter(loader)


def examples_of(source: Any) -> Iterator[dict[str, Any]]:
    """Gives all examples of a source, also in a data worker.

    Iterating over a stream of `datasets` would give only the share of that worker.
    """
    if not hasattr(source, "iter"):
        yield from source
        return
    for batch in source.iter(batch_size=AT_ONCE):
        yield from (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))


class PieceSampler(Sampler[list[int]]):
    """Yields this process's pieces of every global batch from number `start` on.

    Attributes:
        numbers: the number of pieces of each batch whose first piece was yielded; who has got them all takes it out.
    """

    def __init__(self, batches: TokenBudgetBatchSampler, division: Division, start: int = 0) -> None:
        self.batches, self.division, self.start = batches, division, start
        self.numbers: deque[int] = deque()

    def __iter__(self) -> Iterator[list[int]]:
        for batch in islice(self.batches, self.start, None):
            pieces = self.division.pieces(batch)
            self.numbers.append(len(pieces))
            yield from pieces


class DatasetBatches(Divided):
    """The batches of one process, an update at a time: what the training loop iterates over.

    Do not pass it through `accelerator.prepare`: the data are already divided, and moving a piece to the device is
    the loop's work. It draws nothing from the global random number generators, so an epoch that is entered in its
    middle, after a resume, continues bit for bit.

    Args:
        dataset: the rows, such as `tokenize_pairs` gives them.
        sampler: the global batches.
        collate: makes a dictionary of tensors of a list of rows, also of an empty list; see `PaddingCollator`. If
            it has `set_epoch`, that decides what it draws.
        division, num_workers, pin_memory: see `Divided`.
    """

    def __init__(
        self,
        dataset: Any,
        sampler: TokenBudgetBatchSampler,
        collate: Collate,
        division: Division = WHOLE,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(division, num_workers, pin_memory)
        self.dataset, self.sampler, self.collate = dataset, sampler, collate

    @property
    def max_tokens(self) -> int:
        """The budget of an update."""
        return self.sampler.max_tokens

    def set_epoch(self, epoch: int) -> None:
        """Fixes the order of the updates, and what `collate` draws, by their seeds and `epoch` alone."""
        set_epoch_of(self.sampler, epoch)
        set_epoch_of(self.collate, epoch)

    def __len__(self) -> int:
        """Returns the number of updates in an epoch: the same in each, and on every process."""
        return len(self.sampler)

    def updates(self, start: int = 0) -> Iterator[list[dict[str, Tensor]]]:
        """Gives the updates of the epoch from number `start` on, each as the pieces of this process."""
        sampler = PieceSampler(self.sampler, self.division, start)
        # Data workers are given pieces long before they are needed, so the sampler is ahead of this loop.
        pieces = self.loaded(self.dataset, batch_sampler=sampler, collate_fn=self.collate)
        for first in pieces:
            yield [first, *islice(pieces, sampler.numbers.popleft() - 1)]

    def __iter__(self) -> Iterator[list[dict[str, Tensor]]]:
        return self.updates()


class StreamBatches(Divided):
    """The batches of one process from a source without a length, such as a `datasets.IterableDataset`.

    Examples for about `window` updates at a time are read, sorted by length and cut into batches by the budget of
    tokens, as `TokenBudgetBatchSampler` does it for a whole data set. Every process reads the whole stream and takes
    its pieces; so does every data worker, which makes the tensors of its share of the updates. The number of updates
    is not known, so there is no `__len__`. An epoch that is entered in its middle reads the examples of the earlier
    updates and passes over them: it continues bit for bit, if the source gives the same examples in the same order
    each time.

    Args:
        source: gives examples, each time anew. Where it has `set_epoch`, that decides the order of an epoch.
        sides: side → the column of its tokens; the tokens of all sides count for the budget.
        max_tokens: the budget of one update over all sides, padding included.
        collate: see `DatasetBatches`.
        division, num_workers, pin_memory: see `Divided`.
        window: the examples that are sorted together have so many times `max_tokens` tokens.
        shuffle, seed: see `TokenBudgetBatchSampler`.
    """

    def __init__(
        self,
        source: Iterable[dict[str, Any]],
        sides: Mapping[str, str],
        max_tokens: int,
        collate: Collate,
        division: Division = WHOLE,
        window: int = 100,
        shuffle: bool = True,
        seed: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(division, num_workers, pin_memory)
        self.source, self.sides, self.max_tokens, self.collate = source, sides, max_tokens, collate
        self.window, self.shuffle, self.seed, self.epoch = window, shuffle, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Fixes the order of the updates, and what `collate` draws, by their seeds and `epoch` alone."""
        self.epoch = epoch
        set_epoch_of(self.source, epoch)
        set_epoch_of(self.collate, epoch)

    def updates(self, start: int = 0) -> Iterator[list[dict[str, Tensor]]]:
        """Gives the updates of the epoch from number `start` on, each as the pieces of this process."""
        return self.loaded(StreamedUpdates(self, start), batch_size=None)

    def pieces(self, examples: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Returns the pieces of this process of an update."""
        pieces = self.division.pieces(range(len(examples)))
        return [self.collate([examples[row] for row in piece]) for piece in pieces]

    def global_batches(self) -> Iterator[list[dict[str, Any]]]:
        """Gives the examples of each update, of all processes together."""
        examples, number = examples_of(self.source), 0
        while rows := self.read(examples):
            lengths = {side: [len(row[column]) for row in rows] for side, column in self.sides.items()}
            sampler = TokenBudgetBatchSampler(lengths, self.max_tokens, self.shuffle, self.seed + number)
            sampler.set_epoch(self.epoch)
            for batch in sampler:
                yield [rows[row] for row in batch]
            number += 1

    def read(self, examples: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        """Reads the examples of a window; empty where the stream has ended."""
        rows, tokens = [], 0
        while tokens < self.window * self.max_tokens and (row := next(examples, None)) is not None:
            rows.append(row)
            tokens += sum(len(row[column]) for column in self.sides.values())
        return rows


class StreamedUpdates(IterableDataset):
    """The updates of `StreamBatches` from number `start` on; of several data workers, each makes every nth of them.

    `DataLoader` takes an item from each worker in turn, so the order is that of the stream.
    """

    def __init__(self, batches: StreamBatches, start: int) -> None:
        self.batches, self.start = batches, start

    def __iter__(self) -> Iterator[list[dict[str, Tensor]]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        for examples in islice(self.batches.global_batches(), self.start + first, None, step):
            yield self.batches.pieces(examples)
