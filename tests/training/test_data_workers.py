"""Data workers: they make the same updates, in the same order, whatever their number and wherever a run is resumed."""

import signal

import pytest
import torch
from datasets import Dataset

from triptych.data import DatasetBatches, Division, StreamBatches, TokenBudgetBatchSampler, TranslationCollator
from triptych.training.interruption import Interrupted

SIDES = {"source": "input_ids", "target": "labels"}


def rows(number=90):
    sizes = [1 + i * 7 % 11 for i in range(number)]
    return Dataset.from_dict(
        {column: [[4 + i % 16] * n + [3] for i, n in enumerate(sizes)] for column in SIDES.values()}
    )


def make_batches(kind, workers, **division):
    collate, data, parts = TranslationCollator(0), rows(), Division(**division)
    if kind == "stream":
        return StreamBatches(data, SIDES, 150, collate, parts, window=30, seed=5, num_workers=workers)
    lengths = {side: [len(ids) for ids in data[column]] for side, column in SIDES.items()}
    return DatasetBatches(data, TokenBudgetBatchSampler(lengths, 150, seed=5), collate, parts, workers)


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        for piece, another in zip(one, other, strict=True):
            assert all(torch.equal(piece[name], another[name]) for name in piece)


@pytest.mark.parametrize("kind", ["rows", "stream"])
def test_workers_change_nothing(kind):
    division = {"rank": 1, "world_size": 2, "accumulation_steps": 2}
    alone = make_batches(kind, 0, **division)
    alone.set_epoch(1)
    updates = list(alone.updates())
    assert len(updates) > 5
    before = torch.get_rng_state()
    for workers, start in ((1, 0), (2, 4)):
        batches = make_batches(kind, workers, **division)
        batches.set_epoch(1)
        assert_same(batches.updates(start), updates[start:])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["rows", pytest.param("stream", marks=pytest.mark.slow)])
def test_a_run_that_goes_on_with_another_number_of_workers(tiny_run, tmp_path, kind):
    options = {"dropout": 0.3, "max_steps": 9}

    def make(name, workers, **more):
        loop = tiny_run.loop(tmp_path / name, **options, **more)
        loop.train_batches = make_batches(kind, workers)
        return loop

    make("alone", 0).run()
    stopped = make("stopped", 2)
    tiny_run.module.signal_at(stopped, 3, signal.SIGINT)
    with pytest.raises(Interrupted):
        stopped.run()
    make("stopped", 1, resume=True).run()
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "stopped"), tiny_run.weights(tmp_path / "alone"))
    assert tiny_run.metrics(tmp_path / "stopped") == tiny_run.metrics(tmp_path / "alone")


def test_pieces_can_become_smaller():
    batches = make_batches("rows", 0)
    whole = [pieces[0]["labels"].shape[0] for pieces in batches]
    batches.cut_into(3)
    cut = [[len(piece["labels"]) for piece in pieces] for pieces in batches]
    assert {len(sizes) for sizes in cut} == {3}
    assert [sum(sizes) for sizes in cut] == whole
