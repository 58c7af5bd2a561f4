"""A run ends when its metric has not become better for long enough, also over a kill."""

import math
import signal

import pytest

from triptych.training.interruption import Interrupted

OPTIONS = {"evaluation_steps": 1, "save_steps": 1, "keep_checkpoints": 9, "max_steps": 9, "best_metric": "score"}


def scores(*values):
    """What makes an evaluation give these values, one after the other."""
    given = iter(values)
    return {"evaluate": lambda model, accelerator: {"score": next(given)}, "metrics": ["score"]}


@pytest.mark.parametrize(
    ("values", "patience", "steps"),
    [
        ((1.0, 2.0, 1.5, 2.0), 2, 4),  # an equal value is not better
        ((1.0, 0.5, 2.0, 1.5, 3.0, 2.0, 2.5), 2, 7),
        ((math.nan, 1.0, math.nan), 1, 3),
        ((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0), 1, 9),
    ],
)
def test_so_many_evaluations_in_a_row(tiny_run, tmp_path, capsys, values, patience, steps):
    loop = tiny_run.loop(tmp_path, early_stopping_patience=patience, extras=scores(*values), **OPTIONS)
    result = loop.run()
    assert result.step == steps
    assert result.best["value"] == max(value for value in values if value == value)
    count = f"{patience} evaluation{'s' if patience > 1 else ''}"
    told = f"stopped early: {count} without a better score" in capsys.readouterr().err
    assert told == (steps < 9)


def test_a_smaller_loss_is_better(tiny_run, tmp_path):
    options = OPTIONS | {"greater_is_better": False, "early_stopping_patience": 2}
    assert tiny_run.loop(tmp_path, extras=scores(3.0, 2.0, 2.5, 2.0), **options).run().step == 4


def test_the_count_survives_a_stop(tiny_run, tmp_path):
    options = OPTIONS | {"early_stopping_patience": 2}
    loop = tiny_run.loop(tmp_path, extras=scores(2.0, 1.0), **options)
    tiny_run.module.signal_at(loop, 1, signal.SIGTERM)
    with pytest.raises(Interrupted):
        loop.run()
    assert tiny_run.loop(tmp_path, resume=True, extras=scores(1.5), **options).run().step == 3
    # A run that is over stays so, until it is given more patience.
    assert tiny_run.loop(tmp_path, resume=True, extras=scores(), **options).run().step == 3
    options["early_stopping_patience"] = 3
    assert tiny_run.loop(tmp_path, resume=True, extras=scores(1.0), **options).run().step == 4


def test_without_evaluations_it_is_refused(tiny_run, tmp_path):
    with pytest.raises(ValueError, match="early_stopping_patience needs best_metric, which is none"):
        tiny_run.loop(tmp_path, early_stopping_patience=1, best_metric="none")
    arguments = tiny_run.module.LoopArguments(str(tmp_path), early_stopping_patience=1, cpu=True, report_to="none")
    with pytest.raises(ValueError, match="early_stopping_patience needs validation data"):
        tiny_run.module.TrainingLoop(tiny_run.module.tiny_model(), arguments, tiny_run.module.TinyBatches(5))
