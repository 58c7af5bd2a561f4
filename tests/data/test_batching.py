import math
from itertools import chain, pairwise

import numpy as np
import pytest

from triptych.data import TokenBudgetBatchSampler, shard


def lengths(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated lengths of a real shape: many short pairs, few long ones."""
    random = np.random.default_rng(seed)
    source = 2 + random.geometric(0.12, rows).clip(max=80)
    return source, (source * random.uniform(0.8, 1.5, rows)).astype(int) + 1


def padded_size(batch: list[int], source: np.ndarray, target: np.ndarray) -> int:
    return len(batch) * (int(source[batch].max()) + int(target[batch].max()))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("max_tokens", [250, 1000, 10**6])
def test_every_row_once_within_the_budget(shuffle, max_tokens):
    source, target = lengths(3000)
    sampler = TokenBudgetBatchSampler({"source": source, "target": target}, max_tokens, shuffle=shuffle)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert sorted(chain(*batches)) == list(range(3000))
        assert all(0 < padded_size(batch, source, target) <= max_tokens for batch in batches)


def test_batches_are_as_large_as_the_budget_allows():
    source, target = lengths(3000)
    batches = list(TokenBudgetBatchSampler({"source": source, "target": target}, 1000, shuffle=False))
    for batch, following in pairwise(batches):
        assert padded_size([*batch, following[0]], source, target) > 1000


def test_little_padding():
    source, target = lengths(30_000)
    batches = list(TokenBudgetBatchSampler({"source": source, "target": target}, 4000))
    padded = sum(padded_size(batch, source, target) for batch in batches)
    assert (source + target).sum() / padded > 0.95


def test_order_depends_on_seed_and_epoch_alone():
    source, target = lengths(2000)

    def batches(seed: int, epoch: int, shuffle: bool = True) -> list[list[int]]:
        sampler = TokenBudgetBatchSampler({"source": source, "target": target}, 800, shuffle=shuffle, seed=seed)
        sampler.set_epoch(epoch)
        np.random.seed(epoch)  # the global state must not matter
        return list(sampler)

    assert batches(0, 1) == batches(0, 1)
    assert batches(0, 1) != batches(0, 2)
    assert batches(0, 1) != batches(1, 1)
    assert batches(0, 1, shuffle=False) == batches(3, 2, shuffle=False)
    # Not only the order of the batches changes, their members do.
    assert {frozenset(batch) for batch in batches(0, 1)} != {frozenset(batch) for batch in batches(0, 2)}


def test_rows_are_permuted_in_parts_as_all_at_once(monkeypatch):
    monkeypatch.setattr("triptych.data.batching.AT_ONCE", 30)
    lengths = {side: np.random.default_rng(n).integers(1, 6, 500) for n, side in enumerate(("source", "target"))}
    sampler = TokenBudgetBatchSampler(lengths, 100, seed=3)
    sampler.set_epoch(2)
    cell = np.repeat(np.arange(len(sampler.cells) - 1), np.diff(sampler.cells))
    assert np.diff(sampler.cells).max() > 10
    for number in range(len(sampler.cells) - 1):
        rows = sampler.order[cell == number]
        assert all(len(np.unique(of_side[rows])) == 1 for of_side in lengths.values())
    expected = sampler.order[np.lexsort((np.random.default_rng((3, 2)).random(500), cell))]
    assert sampler.permuted(np.random.default_rng((3, 2))).tolist() == expected.tolist()
    assert sampler.order.nbytes == 2 * 500


def test_lengths_come_from_a_dataset_column():
    from datasets import Dataset

    source, target = lengths(500)
    data = Dataset.from_dict({"source_length": source, "target_length": target})
    from_columns = TokenBudgetBatchSampler({"source": data["source_length"], "target": data["target_length"]}, 500)
    assert list(from_columns) == list(
        TokenBudgetBatchSampler({"source": source.tolist(), "target": target.tolist()}, 500)
    )


def test_a_pair_larger_than_the_budget_is_named():
    sides = {"source": [3, 11, 5], "target": [4, 20, 5]}
    with pytest.raises(
        ValueError, match=r"row 2 .*costs 31 tokens \(11 source, 20 target\).*max_tokens=30.*31 or more"
    ):
        TokenBudgetBatchSampler(sides, max_tokens=30)
    assert sorted(chain(*TokenBudgetBatchSampler(sides, max_tokens=31))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ([], [], "the lengths of source must be one number for each row"),
        ([[1]], [[1]], "the lengths of source must be one number for each row"),
        ([1.5], [1], "the lengths of source must be integers, got float64"),
        ([1, 1, 0], [1, 1, 1], "source: row 3 has 0 tokens"),
        ([1, 1], [1, -2], "target: row 2 has -2 tokens"),
        ([1, 2], [1], "the numbers of lengths are: 2 of source, 1 of target"),
    ],
)
def test_impossible_lengths(source, target, message):
    with pytest.raises(ValueError, match=message):
        TokenBudgetBatchSampler({"source": source, "target": target}, 100)


@pytest.mark.parametrize("sides", [1, 3])
def test_any_number_of_sides(sides):
    lengths_of = {f"side {i}": lengths(2000, seed=i)[0] for i in range(sides)}
    sampler = TokenBudgetBatchSampler(lengths_of, 600)
    batches = list(sampler)
    assert sorted(chain(*batches)) == list(range(2000))
    sizes = [len(batch) * sum(int(side[batch].max()) for side in lengths_of.values()) for batch in batches]
    assert max(sizes) <= 600
    assert sum(side.sum() for side in lengths_of.values()) / sum(sizes) > {1: 0.95, 3: 0.6}[sides]


def test_the_second_side_rises_and_falls_in_turn():
    """Rows of two sides, in the order in which they are cut: neighbours are alike on both sides."""
    source, target = np.array([1, 1, 2, 2, 3, 3]), np.array([5, 4, 5, 4, 5, 4])
    sampler = TokenBudgetBatchSampler({"source": source, "target": target}, 100, shuffle=False)
    assert [(int(source[row]), int(target[row])) for batch in sampler for row in batch] == [
        *((1, 4), (1, 5), (2, 5), (2, 4), (3, 4), (3, 5))
    ]


@pytest.mark.parametrize("rows", [0, 1, 3, 16, 61])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("accumulation_steps", [1, 2, 5])
def test_shards_divide_a_batch_evenly(rows, world_size, accumulation_steps):
    batch = list(range(100, 100 + rows))
    pieces = [shard(batch, rank, world_size, accumulation_steps) for rank in range(world_size)]
    assert sorted(chain(*chain(*pieces))) == batch
    # All processes have as many pieces; but none that has no row on any process.
    assert {len(of_rank) for of_rank in pieces} == {max(1, min(accumulation_steps, math.ceil(rows / world_size)))}
    sizes = [len(piece) for of_rank in pieces for piece in of_rank]
    assert max(sizes) - min(sizes) <= 1
    # The processes of a step work on one run of the (length-sorted) batch.
    runs = [sorted(chain(*step)) for step in zip(*pieces, strict=True)]
    assert list(chain(*runs)) == batch


@pytest.mark.parametrize("impossible", [(0, 0, 1), (2, 2, 1), (-1, 2, 1), (0, 1, 0)])
def test_impossible_shards(impossible):
    with pytest.raises(ValueError, match="0 <= rank < world_size"):
        shard([1, 2], *impossible)
