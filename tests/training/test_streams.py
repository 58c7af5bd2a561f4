"""The loop over data whose length is not known."""

import json

import pytest


class Stream:
    """Batches without a length; an epoch has so many updates as it happens to have."""

    def __init__(self, batches):
        self.set_epoch, self.updates = batches.set_epoch, batches.updates


@pytest.fixture
def streamed(tiny_run, tmp_path):
    def make(name, **options):
        loop = tiny_run.loop(tmp_path / name, dropout=0.3, **options)
        loop.train_batches = Stream(loop.train_batches)
        return loop

    return make


def test_a_stream_trains_as_data_of_known_length_do(tiny_run, streamed, tmp_path):
    """Evaluations and checkpoints come at the end of an epoch, here after 5 updates, which only the stream knows."""
    options = {"max_steps": 12, "keep_checkpoints": 9}
    tiny_run.loop(tmp_path / "known", dropout=0.3, **options).run()
    streamed("stream", **options).run()
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "known"), tiny_run.weights(tmp_path / "stream"))
    for name in ("known", "stream"):
        assert {d.name for d in (tmp_path / name).glob("checkpoint-*")} == {f"checkpoint-{n}" for n in (5, 10, 12)}
    records = [json.loads(line) for line in (tmp_path / "stream" / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "validation_loss" in r] == [5, 10, 12]
    assert [r["epoch"] for r in records if "loss" in r] == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("died", [4, 8])
def test_a_stream_that_is_resumed_equals_an_unbroken_one(tiny_run, streamed, tmp_path, died):
    options = {"max_steps": 12, "save_steps": 3}
    streamed("unbroken", **options).run()
    streamed("killed", **(options | {"max_steps": died})).run()
    streamed("killed", resume=True, **options).run()
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "unbroken"), tiny_run.weights(tmp_path / "killed"))


@pytest.mark.parametrize("limit", [{"num_train_epochs": 2}, {}])
def test_a_stream_needs_another_limit_than_epochs(streamed, limit):
    with pytest.raises(ValueError, match=r"are a stream.*: give max_steps or max_minutes"):
        streamed("run", max_steps=None, **limit).run()


def test_a_stream_that_ends_early_is_refused(streamed):
    loop = streamed("run")
    loop.train_batches.updates = lambda start=0: iter(())
    with pytest.raises(ValueError, match="no update from number 0 of the epoch on"):
        loop.run()


def test_data_shorter_than_they_say_are_refused(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path)
    updates = loop.train_batches.updates
    loop.train_batches.updates = lambda start=0: list(updates(start))[:3]
    with pytest.raises(ValueError, match="gave 3 updates, but its length says 5"):
        loop.run()
