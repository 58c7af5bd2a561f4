import math

import pytest
import torch

from triptych.training import SCHEDULES, Schedule, lambda_lr


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (1, 512**-0.5 * 4000**-1.5),  # 1.7469e-07
        (2000, 3.4938562e-4),  # half of the peak
        (4000, 6.9877124e-4),  # 1 / sqrt(512 * 4000)
        (16000, 3.4938562e-4),  # four times the warmup: half of the peak
        (100000, 1.3975425e-4),  # 1 / sqrt(512 * 100000)
    ],
)
def test_equation_3(step, expected):
    assert Schedule("noam", hidden_size=512, warmup_steps=4000)(step) == pytest.approx(expected, rel=1e-7)


def test_scale_is_a_factor():
    plain, doubled = (Schedule("noam", hidden_size=512, warmup_steps=100, scale=s) for s in (1.0, 2.0))
    assert doubled(37) == 2 * plain(37)


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # ten updates, the first two are the warmup, the peak is 1
        ("linear", [1 / 2, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ("cosine", [1 / 2, 1, *((1 + math.cos(math.pi * i / 8)) / 2 for i in range(8))]),
        ("constant", [1 / 2, *[1] * 9]),
        ("inverse_sqrt", [1 / 2, 1, *((2 / step) ** 0.5 for step in range(3, 11))]),
    ],
)
def test_ten_updates(name, expected):
    schedule = Schedule(name, learning_rate=1.0, warmup_steps=2)
    assert [schedule(step, (step - 1) / 10) for step in range(1, 11)] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["linear", "cosine", "constant", "inverse_sqrt"])
def test_warmup_as_a_fraction(name):
    schedule = Schedule(name, learning_rate=2.0, warmup_ratio=0.2)
    assert schedule(1, 0.0) == 0
    assert schedule(50, 0.1) == pytest.approx(1.0)
    assert schedule(100, 0.2) == pytest.approx(2.0)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_decays_end_in_time_under_a_limit_in_minutes(name):
    schedule = Schedule(name, learning_rate=1.0, warmup_steps=10)
    slow = [schedule(step, min((step - 1) / 37, 1.0)) for step in range(1, 39)]  # 37 updates fit in the minutes
    assert max(slow) == pytest.approx(1.0)
    assert slow[-1] == pytest.approx(0.0)


@pytest.mark.parametrize("name", ["linear", "cosine", "constant", "inverse_sqrt"])
def test_no_warmup_starts_at_the_peak(name):
    assert Schedule(name, learning_rate=0.3, warmup_steps=0)(1, 0.0) == pytest.approx(0.3)


@pytest.mark.parametrize("name", SCHEDULES)
def test_never_negative_and_finite(name):
    schedule = Schedule(name, learning_rate=1.0, warmup_steps=50, hidden_size=8)
    values = [schedule(step, progress / 10) for step in (1, 2, 49, 50, 51, 10**6) for progress in range(12)]
    assert all(math.isfinite(value) and value >= 0 for value in values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "quadratic"}, "'quadratic' is not a schedule; choose one of noam, inverse_sqrt, linear"),
        ({"name": "noam"}, "needs hidden_size"),
        ({"name": "noam", "hidden_size": 4, "warmup_ratio": 0.1}, "give warmup_steps"),
        ({"name": "linear", "warmup_steps": -1}, "warmup_steps=-1"),
        ({"name": "linear", "warmup_ratio": 1.5}, "warmup_ratio=1.5"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**options)


def test_lambda_lr_gives_the_same_values():
    schedule = Schedule("linear", learning_rate=0.5, warmup_steps=3)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=123.0)
    scheduler = lambda_lr(optimizer, schedule, max_steps=9)
    for step in range(1, 10):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(schedule(step, (step - 1) / 9))
        optimizer.step()
        scheduler.step()
