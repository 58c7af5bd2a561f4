"""Published recipes become defaults of the command line; what it says itself wins."""

import pytest

from triptych import TriptychConfig, preset_names, preset_recipe
from triptych.training import LoopArguments
from triptych.training.recipe import OPTIONS, recipe_options
from triptych.training.script import parse_options
from triptych.training.tasks.translation import TranslationTask

DATA = ["--corpus", "en-de", "--output_dir", "out"]


def parse(line=""):
    """What scripts/train_translation.py makes of a command line."""
    return parse_options(TranslationTask, args=[*DATA, *line.split()])


def test_the_recipe_of_the_paper():
    arguments, loop, config = parse("--recipe transformer-base --preset tiny")
    assert arguments.preset == "tiny"
    assert (loop.optimizer, loop.adam_beta1, loop.adam_beta2, loop.adam_epsilon) == ("adam", 0.9, 0.98, 1e-9)
    assert (loop.lr_scheduler, loop.learning_rate_scale, loop.warmup_steps) == ("noam", 1.0, 4000)
    assert (loop.max_steps, loop.num_train_epochs, arguments.max_tokens) == (100_000, None, 50_000)
    assert (loop.final_weights, loop.keep_checkpoints, loop.save_minutes) == ("average", 5, 10)
    assert (arguments.num_beams, arguments.gnmt_length_penalty, arguments.max_length_beyond_source) == (4, 0.6, 50)
    assert config == {"dropout": 0.1, "label_smoothing": 0.1}


@pytest.mark.parametrize("line", ["--recipe", "--recipe --warmup_steps 4000", "--recipe transformer-big"])
def test_without_a_name_it_is_that_of_the_preset(line):
    _, loop, config = parse(f"{line} --preset transformer-big")
    assert (loop.max_steps, loop.keep_checkpoints, loop.adam_beta2, config["dropout"]) == (300_000, 20, 0.98, 0.3)


def test_given_options_win():
    arguments, loop, config = parse(
        "--recipe --optimizer muon --warmup_steps 7 --adam_beta2 0.5 --max_tokens 99 --num_beams 1 --dropout 0 "
        "--final_weights last --save_steps 3 --max_minutes 2"
    )
    assert (loop.optimizer, loop.warmup_steps, loop.adam_beta2, loop.adam_beta1) == ("muon", 7, 0.5, 0.9)
    assert (loop.final_weights, loop.save_steps, loop.save_minutes) == ("last", 3, None)
    assert (loop.max_minutes, loop.max_steps) == (2, 100_000)
    assert (arguments.max_tokens, arguments.num_beams) == (99, 1)
    assert config == {"dropout": 0, "label_smoothing": 0.1}


def test_without_the_option_nothing_changes():
    arguments, loop, config = parse("--preset transformer-big")
    assert loop == LoopArguments("out")
    assert arguments == TranslationTask.arguments_class(corpus="en-de", preset="transformer-big")
    assert config == {}


@pytest.mark.parametrize("name", [n for n in preset_names("triptych") if n.startswith("transformer-")])
def test_every_transformer_can_be_trained_as_published(name):
    options = recipe_options(name, "translation")
    config = TriptychConfig.from_preset(name)
    assert (options["dropout"], options["label_smoothing"]) == (config.dropout, config.label_smoothing)
    assert {"optimizer", "adam_epsilon", "lr_scheduler", "max_steps", "max_tokens", "num_beams"} <= options.keys()


def test_every_option_exists():
    fields = [c.__dataclass_fields__ for c in (TranslationTask.arguments_class, LoopArguments, TriptychConfig)]
    assert {name for names in OPTIONS.values() for name in names} <= set().union(*fields)


@pytest.mark.parametrize(
    ("name", "objective", "message"),
    [
        (
            "t5-small",
            "span-corruption",
            "t5-small .* optimizer.name='adafactor', schedule.name='constant_inverse_sqrt'",
        ),
        ("palm-540b", "language-modelling", r"optimizer.weight_decay='lr\^2'.* z_loss=0.0001"),
        ("gpt3-175b", "language-modelling", "schedule.warmup_tokens=375000000.* schedule.final_ratio=0.1"),
        ("bert-base", "translation", "objective='masked-language-modelling.*; it has the objective translation"),
        ("tiny", "translation", "preset 'tiny' has no recipe; choose one of: .*transformer-base"),
        (
            "transformer-huge",
            "translation",
            r"unknown preset 'transformer-huge' \(did you mean transformer-\w+\?\); choose one of",
        ),
    ],
)
def test_what_cannot_be_done_is_named(name, objective, message):
    with pytest.raises(ValueError, match=message):
        recipe_options(name, objective)


def test_unpublished_values_leave_the_defaults():
    recipe = preset_recipe("transformer-base")
    assert recipe["optimizer"]["clip"] is None
    assert "max_grad_norm" not in recipe_options("transformer-base", "translation")
