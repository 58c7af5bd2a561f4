"""The forecast: what is measured is undone bit for bit; what follows from it is arithmetic; and what is hopeless."""

import pytest
import torch

from triptych.training.plan.forecast import Forecast, forecast, measure, warnings

from ..test_loop import TWO_PROCESSES
from ..test_sharding import DIVIDED


@pytest.mark.parametrize("options", [{"optimizer": "muon"}, {"mixed_precision": "fp16", "max_grad_norm": 1.0}])
def test_a_run_after_a_forecast_equals_a_run_without(tiny_run, tmp_path, options):
    tiny_run.loop(tmp_path / "plain", dropout=0.3, **options).run()
    loop = tiny_run.loop(tmp_path / "measured", dropout=0.3, **options)
    before = [parameter.detach().clone() for parameter in loop.bare_model.parameters()]
    measured = measure(loop)
    assert all(torch.equal(*pair) for pair in zip(before, loop.bare_model.parameters(), strict=True))
    assert loop.state.step == 0
    assert not (tmp_path / "measured").exists()
    loop.run()
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "plain"), tiny_run.weights(tmp_path / "measured"))
    assert tiny_run.metrics(tmp_path / "plain") == tiny_run.metrics(tmp_path / "measured")
    assert 0 < measured.seconds < 60
    # Two numbers of 4 bytes for each weight with adam; Muon keeps one for each of its matrices.
    weights = sum(parameter.numel() for parameter in loop.bare_model.parameters())
    assert measured.state_bytes > 4 * weights
    assert options.get("optimizer") != "muon" or measured.state_bytes < 8 * weights


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, DIVIDED], ids=["whole", "divided"])
def test_in_two_processes_too(tiny_run, tmp_path, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name, measured in (("plain", {}), ("measured", {"measured": True})):
        done = tiny_run.program(tmp_path / name, *TWO_PROCESSES, dropout=0.3, max_grad_norm=1.0, **measured)
        assert done.returncode == 0, done.stderr
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "plain"), tiny_run.weights(tmp_path / "measured"))


def test_measured_updates_do_change_the_weights_before_they_are_undone(tiny_run, tmp_path, monkeypatch):
    loop, seen = tiny_run.loop(tmp_path, learning_rate=1.0, lr_scheduler="constant", warmup_steps=0), []
    update = loop.update

    def spy(pieces):
        made = update(pieces)
        seen.append(next(loop.bare_model.parameters()).detach().clone())
        return made

    loop.update = spy
    measure(loop)
    assert len(seen) >= 2
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[-1], next(loop.bare_model.parameters()))


def test_an_error_while_measuring_undoes_everything_too(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path)
    before, update = [p.detach().clone() for p in loop.bare_model.parameters()], loop.update

    def fail(pieces):
        update(pieces)
        raise FloatingPointError

    loop.update = fail
    with pytest.raises(FloatingPointError):
        measure(loop)
    assert all(torch.equal(*pair) for pair in zip(before, loop.bare_model.parameters(), strict=True))


def test_where_the_memory_is_too_small_measuring_begins_anew(tiny_run, tmp_path):
    loop, numbers = tiny_run.loop(tmp_path, find_batch_size=True), []
    gradients = loop.updater.gradients

    def too_small(pieces, items, alone=False):
        numbers.append(len(pieces))
        if len(pieces) < 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return gradients(pieces, items)

    loop.updater.gradients = too_small
    measure(loop)
    assert numbers[:3] == [1, 2, 4]
    assert set(numbers[3:]) == {4}
    assert loop.state.pieces == 4
    assert loop.state.step == 0


def test_an_empty_stream_is_refused(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path)
    loop.train_batches.updates = lambda start=0: iter(())
    with pytest.raises(ValueError, match="give no update: they are empty"):
        measure(loop)


@pytest.fixture
def loop(tiny_run, tmp_path):
    """A loop over epochs of 5 updates."""

    def make(**options):
        return tiny_run.loop(tmp_path, **({"max_steps": None} | options))

    return make


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_minutes": 15}, Forecast(901, 15, 180.2, True)),
        ({"max_minutes": 15, "max_steps": 600}, Forecast(600, 10, 120, False)),
        ({"max_minutes": 15, "max_steps": 6000}, Forecast(901, 15, 180.2, True)),
        ({"num_train_epochs": 6}, Forecast(30, 0.5, 6, False)),
        ({"num_train_epochs": 6, "max_steps": 12}, Forecast(12, 0.2, 2.4, False)),
    ],
)
def test_how_far_a_run_gets_with_updates_of_a_second(loop, limits, expected):
    assert forecast(loop(**limits), 1.0) == expected


def test_the_epochs_of_a_stream_are_not_known(loop):
    run = loop(max_minutes=1)
    run.train_batches = iter(())
    assert forecast(run, 1.0) == Forecast(61, 1, None, True)


def test_what_is_told():
    assert str(Forecast(4900, 15, 16.24, True)) == "about 4,900 updates, 16.2 epochs, in the 15 minutes"
    assert str(Forecast(600, 10.04, None, False)) == "about 600 updates, in about 10 minutes"


def test_what_is_hopeless_is_told_with_the_remedy(loop):
    run = loop(max_minutes=15, warmup_steps=0, lr_scheduler="constant")
    assert warnings(run, Forecast(500, 15, 1, True), is_new=True, is_planned=True) == []
    few = Forecast(90, 15, 1, True)
    [line] = warnings(run, few, is_new=True, is_planned=False)
    assert line.startswith("warning: a model with new weights usually learns little in fewer than 200 updates")
    assert line.endswith("give --max_minutes 34 or more, or leave out --preset, so that the size fits the time")
    [line] = warnings(run, few, is_new=True, is_planned=True)
    assert line.endswith("give --max_minutes 34 or more")
    # A checkpoint learns in few updates, and who gives a number of updates knows it.
    assert warnings(run, few, is_new=False, is_planned=True) == []
    assert warnings(run, Forecast(90, 15, 1, False), is_new=True, is_planned=True) == []


def test_a_training_that_ends_within_the_warmup_is_told(loop):
    expected = Forecast(600, 15, 1, True)
    [line] = warnings(loop(max_minutes=15, warmup_steps=4000), expected, is_new=True, is_planned=False)
    assert "ends within the warm-up of 4,000 updates" in line
    assert line.endswith("give --warmup_steps 30")
    ratio = loop(max_minutes=15, warmup_steps=4000, warmup_ratio=0.05, lr_scheduler="linear")
    assert warnings(ratio, expected, is_new=True, is_planned=False) == []
