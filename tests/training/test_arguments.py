import math

import pytest
from transformers import HfArgumentParser

from triptych.training import LoopArguments


def test_command_line():
    parser = HfArgumentParser(LoopArguments)
    line = "--output_dir out --max_minutes 4.5 --lr_scheduler cosine --no_progress_bar --mixed_precision bf16"
    (arguments,) = parser.parse_args_into_dataclasses(line.split())
    assert arguments.max_minutes == 4.5
    assert arguments.num_train_epochs is None
    assert arguments.needs_clock
    assert not arguments.progress_bar
    assert all(action.help for action in parser._actions)


def test_ten_epochs_when_nothing_ends_the_training():
    assert LoopArguments("out").num_train_epochs == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_scheduler": "square"}, "lr_scheduler='square' is not known; choose one of noam"),
        ({"mixed_precision": "fp4"}, "mixed_precision='fp4' is not known; choose one of no, bf16, fp16"),
        ({"max_steps": 0}, "max_steps=0 must be greater than 0"),
        ({"max_minutes": -1}, "max_minutes=-1 must be greater than 0"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 must be at least 0"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
        ({"seed": 2**32}, "seed=4294967296 must be at most 4294967295"),
        ({"learning_rate": math.nan}, "learning_rate=nan must be at least 0, and finite"),
        ({"max_minutes": math.inf}, "max_minutes=inf must be greater than 0, and finite"),
        ({"adam_beta1": 2.0}, r"adam_beta1=2.0 must lie in \[0, 1\)"),
        ({"adam_beta2": math.nan}, r"adam_beta2=nan must lie in \[0, 1\)"),
        ({"warmup_ratio": 0.1}, "give warmup_steps"),
        ({"warmup_steps": -5}, "warmup_steps=-5 is negative"),
        ({"lr_scheduler": "linear", "warmup_ratio": 3}, "warmup_ratio=3"),
        ({"resume": True, "overwrite": True}, "contradict"),
        ({"save_steps": 5, "save_minutes": 1}, "give save_steps or save_minutes, not both"),
        ({"final_weights": "best", "best_metric": "none"}, "final_weights=best needs best_metric"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        LoopArguments("out", **options)


@pytest.mark.parametrize(
    ("metric", "greater"), [("validation_loss", False), ("validation_perplexity", False), ("bleu", True)]
)
def test_what_better_means(metric, greater):
    assert LoopArguments("out", best_metric=metric).greater_is_better is greater
