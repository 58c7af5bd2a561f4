import math
from collections import Counter

import pytest
import torch
from datasets import Dataset

from triptych.data import DatasetBatches, Division, StreamBatches, TokenBudgetBatchSampler, TranslationCollator


@pytest.fixture
def data() -> Dataset:
    """Row i reads [i + 4] * n, 3 on both sides, so a row can be told from its tokens."""
    sizes = [1 + i * 7 % 11 for i in range(60)]
    return Dataset.from_dict(
        {side: [[i + 4] * n + [3] for i, n in enumerate(sizes)] for side in ("input_ids", "labels")}
    )


def batches(data: Dataset, max_tokens: int = 120, num_workers: int = 0, **division) -> DatasetBatches:
    sizes = [len(ids) for ids in data["input_ids"]]
    sampler = TokenBudgetBatchSampler({"source": sizes, "target": sizes}, max_tokens, seed=5)
    return DatasetBatches(data, sampler, TranslationCollator(0), Division(**division), num_workers)


def rows(pieces: list[dict[str, torch.Tensor]]) -> Counter:
    """The rows in an update, read from their labels; the row that stands for an empty piece has none."""
    firsts = torch.cat([piece["labels"][:, 0] for piece in pieces])
    return Counter((firsts[firsts != -100] - 4).tolist())


@pytest.mark.parametrize(("world_size", "accumulation_steps"), [(1, 1), (1, 3), (2, 1), (2, 4), (3, 2)])
def test_updates_do_not_depend_on_the_division(data, world_size, accumulation_steps):
    whole = batches(data)
    divided = [
        batches(data, rank=rank, world_size=world_size, accumulation_steps=accumulation_steps)
        for rank in range(world_size)
    ]
    for each in [whole, *divided]:
        each.set_epoch(2)
        assert len(each) == len(whole)
    for update, *parts in zip(whole, *divided, strict=True):
        number = math.ceil(sum(rows(update).values()) / world_size)  # more pieces would have no row on any process
        assert {len(part) for part in parts} == {min(accumulation_steps, number)}
        assert sum((rows(part) for part in parts), Counter()) == rows(update)
    assert sum((rows(update) for update in whole), Counter()) == Counter(range(60))


def test_every_process_runs_as_many_pieces_when_rows_are_scarce(data):
    scarce = [batches(data.select(range(3)), rank=rank, world_size=2, accumulation_steps=4) for rank in range(2)]
    updates = [list(each) for each in scarce]
    assert [[len(pieces) for pieces in of_rank] for of_rank in updates] == [[2], [2]]  # of three rows
    assert [len(piece["labels"]) for of_rank in updates for piece in of_rank[0]] == [1, 1, 1, 1]  # one stands for none
    assert rows(updates[0][0]) + rows(updates[1][0]) == Counter(range(3))


def equal(first, second) -> bool:
    return all(
        torch.equal(a[name], b[name])
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x, y, strict=True)
        for name in a
    )


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_epoch_entered_in_its_middle_continues_exactly(data, num_workers):
    each = batches(data, accumulation_steps=2, num_workers=num_workers)
    each.set_epoch(3)
    state = torch.get_rng_state()
    updates = list(each.updates())
    resumed = list(each.updates(start=4))
    assert torch.equal(state, torch.get_rng_state())  # the model's dropout goes on as if nothing had happened
    assert len(updates) == len(each) > 4
    assert equal(resumed, updates[4:])
    assert list(each.updates(start=len(each))) == []


def test_an_impossible_rank_is_refused(data):
    with pytest.raises(ValueError, match="rank=2, world_size=2"):
        batches(data, rank=2, world_size=2)


def stream(data: Dataset, **division) -> StreamBatches:
    source = data.to_iterable_dataset().shuffle(seed=3, buffer_size=20)
    sides = {"source": "input_ids", "target": "labels"}
    return StreamBatches(source, sides, 120, TranslationCollator(0), Division(**division), window=25)


def test_a_stream_gives_every_example_once_and_each_epoch_in_another_order(data):
    each, orders = stream(data), []
    assert not hasattr(each, "__len__")
    for epoch in (0, 1):
        each.set_epoch(epoch)
        updates = list(each.updates())
        assert sum((rows(update) for update in updates), Counter()) == Counter(range(60))
        assert all(p["input_ids"].numel() + p["labels"].numel() <= 120 for update in updates for p in update)
        orders.append([sorted(rows(update)) for update in updates])
    assert orders[0] != orders[1]


def test_a_stream_entered_in_its_middle_continues_exactly(data):
    each, state = stream(data), torch.get_rng_state()
    each.set_epoch(2)
    updates = list(each.updates())
    assert len(updates) > 5  # more than one window
    assert equal(stream_from(data, 5), updates[5:])
    assert torch.equal(state, torch.get_rng_state())


def stream_from(data: Dataset, start: int) -> list:
    """What a process that is started anew reads."""
    each = stream(data)
    each.set_epoch(2)
    return list(each.updates(start))


@pytest.mark.parametrize(("world_size", "accumulation_steps"), [(2, 1), (2, 4)])
def test_the_updates_of_a_stream_do_not_depend_on_the_division(data, world_size, accumulation_steps):
    division = {"world_size": world_size, "accumulation_steps": accumulation_steps}
    divided = [stream(data, rank=rank, **division).updates() for rank in range(world_size)]
    for update, *parts in zip(stream(data).updates(), *divided, strict=True):
        number = math.ceil(sum(rows(update).values()) / world_size)  # more pieces would have no row on any process
        assert {len(part) for part in parts} == {min(accumulation_steps, number)}
        assert sum((rows(part) for part in parts), Counter()) == rows(update)
