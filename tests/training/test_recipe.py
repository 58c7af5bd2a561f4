"""Published recipes become defaults of the command line; what it says itself wins."""

import pytest

from triptych import TriptychConfig, TriptychDecoderConfig, TriptychEncoderConfig, preset_names, preset_recipe
from triptych.training import LoopArguments
from triptych.training.recipe import OBJECTIVES, OPTIONS, recipe_options
from triptych.training.script import parse_options
from triptych.training.tasks.causal_lm import CausalLMTask
from triptych.training.tasks.masked_lm import MaskedLMTask
from triptych.training.tasks.translation import TranslationTask

CONFIGS = (TriptychEncoderConfig, TriptychDecoderConfig)
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
    tasks = [task.arguments_class for task in (TranslationTask, CausalLMTask, MaskedLMTask)]
    fields = set().union(*(c.__dataclass_fields__ for c in (*tasks, LoopArguments, TriptychConfig)))
    assert {name for names in OPTIONS.values() for name in names} <= fields
    assert {name for _, options in OBJECTIVES.values() for name in options} <= fields


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


# The batch of a published recipe → the tokens of an update and of a row: N sequences of length L are N * L tokens.
BATCHES = {
    ("gpt1", "language-modelling"): (64 * 512, 512),
    **{(f"gpt2{size}", "language-modelling"): (512 * 1024, 1024) for size in ("", "-medium", "-large", "-xl")},
    **{(f"roberta-{size}", "masked-language-modelling"): (8000 * 512, 512) for size in ("base", "large")},
    **{(f"bert-{size}", "masked-language-modelling"): (256 * 512, 512) for size in ("base", "large")},
}


@pytest.mark.parametrize(("name", "objective"), BATCHES)
def test_sequences_of_one_length_are_tokens(name, objective):
    options = recipe_options(name, objective)
    assert (options["max_tokens"], options["block_size"]) == BATCHES[name, objective]
    [config_class] = [config for config in CONFIGS if name in preset_names(config.model_type)]
    assert options["block_size"] <= config_class.from_preset(name).position_limit


def test_the_rows_of_a_published_masked_model():
    """RoBERTa fills rows with several documents, and BERT with two segments; both name the objective."""
    for name, given in (("roberta-base", "packed"), ("bert-base", "next_sentence")):
        arguments, loop, config = parse_options(
            MaskedLMTask, args=["--train_file", "a.txt", "--output_dir", "out", "--recipe", name]
        )
        assert arguments.preset == name
        assert {"packed": arguments.packed, "next_sentence": arguments.next_sentence} == {
            "packed": False,
            "next_sentence": False,
        } | {given: True}
        assert (loop.optimizer, loop.lr_scheduler, config["dropout"]) == ("adam", "linear", 0.1)
    assert (loop.learning_rate, loop.warmup_steps, loop.max_steps) == (1e-4, 10_000, 1_000_000)


def test_what_a_recipe_says_beside_its_options_is_told(caplog):
    parse_options(MaskedLMTask, args=["--train_file", "a.txt", "--output_dir", "out", "--recipe", "bert-base"])
    assert "a note on the recipe of bert-base, beside its options: 15% of the tokens" in caplog.text
    assert "length 128 in the first 90% of the steps" in caplog.text


@pytest.mark.parametrize("name", ["palm-8b", "distilbert-base"])
def test_a_batch_that_is_no_number_of_tokens_is_refused(name):
    """PaLM's batch grows, and the length of DistilBERT's rows is not published."""
    with pytest.raises(ValueError, match=r"batch\.sequences="):
        recipe_options(name, "language-modelling")


def test_unpublished_values_leave_the_defaults():
    recipe = preset_recipe("transformer-base")
    assert recipe["optimizer"]["clip"] is None
    assert "max_grad_norm" not in recipe_options("transformer-base", "translation")
