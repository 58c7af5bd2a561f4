"""The table of sizes: every row can be trained, and asks for as much as it needs."""

import dataclasses

import pytest
import torch

import triptych
from triptych.training import LoopArguments
from triptych.training.plan.table import (
    Resources,
    choose,
    rows_from_a_checkpoint,
    rows_from_nothing,
    table,
)
from triptych.training.task_arguments import TaskArguments

# Family → the head that its tasks train most, and the preset that says what a row does not.
FAMILIES = {
    "encoder-decoder": (triptych.TriptychForConditionalGeneration, "transformer-base"),
    "encoder": (triptych.TriptychEncoderForMaskedLM, "bert-base"),
    "decoder": (triptych.TriptychDecoderForCausalLM, "gpt2"),
}
ROWS = [(family, row.number) for family in FAMILIES for row in rows_from_nothing(family)]
# Parameters times tokens that a core trains in a second: measured, see docs/training/sizes.md.
SPEED = 1.3e10


def model_of(family, row):
    """The model of a row, without memory for its weights."""
    model_class, preset = FAMILIES[family]
    names = model_class.config_class.__dataclass_fields__
    fields = {name: value for name, value in row.options.items() if name in names}
    with torch.device("meta"):
        return model_class(model_class.config_class.from_preset(preset, **fields))


def test_there_is_a_table_for_every_family():
    assert table()["from nothing"].keys() == FAMILIES.keys()


@pytest.mark.parametrize(("family", "number"), ROWS)
def test_a_row_is_a_model_and_its_training(family, number):
    row = rows_from_nothing(family)[number - 1]
    model = model_of(family, row)
    known = [c.__dataclass_fields__ for c in (TaskArguments, LoopArguments, type(model.config))]
    assert row.options.keys() <= set().union(*known)
    loop = LoopArguments("run", **{k: v for k, v in row.options.items() if k in LoopArguments.__dataclass_fields__})
    assert loop.learning_rate == row.options["learning_rate"]
    assert model.config.vocab_size == row.options["vocab_size"]


@pytest.mark.parametrize(("family", "number"), [(f, n) for f, n in ROWS if n > 1])
def test_a_row_asks_for_the_time_that_it_takes(family, number):
    row = rows_from_nothing(family)[number - 1]
    seen = 60 * row.least["core_minutes"] * SPEED / model_of(family, row).num_parameters()
    assert row.least["tokens_seen"] == pytest.approx(seen, rel=0.2)
    assert seen / row.options["max_tokens"] > 800  # updates


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_row_asks_for_nothing_and_the_others_for_more_in_turn(family):
    rows = rows_from_nothing(family)
    assert set(rows[0].least.values()) == {0}
    assert {*rows[0].least} == {"tokens", "tokens_seen", "core_minutes"}
    times = [row.least["core_minutes"] for row in rows]
    assert times == sorted(times)
    sizes = [model_of(family, row).num_parameters() for row in rows]
    assert sizes == sorted(sizes)


def chosen(family="encoder-decoder", **resources):
    resources = Resources(**({"tokens": 480_000, "device": "cpu", "threads": 2} | resources))
    return choose(rows_from_nothing(family), resources.quantities)


@pytest.mark.parametrize(
    ("resources", "layers", "width"),
    [
        ({"minutes": 5}, 2, 160),  # the demo
        ({"minutes": 15}, 3, 192),  # the first command on a laptop
        ({"minutes": 1}, 2, 128),
        ({"minutes": 120}, 4, 256),
        ({"epochs": 10}, 3, 192),  # the usual limit
        ({"steps": 60}, 2, 128),
        ({"tokens": 5_000, "minutes": 1e6}, 2, 128),
        ({"tokens": 100_000_000, "minutes": 60, "device": "cuda"}, 6, 512),
        ({"tokens": 100_000_000, "minutes": 60}, 4, 256),
        ({"tokens": None, "minutes": 15}, 3, 192),  # a stream
        ({"tokens": None, "steps": 60}, 2, 128),
        ({"tokens": 10**9, "minutes": 10_000, "device": "cuda", "processes": 8}, 6, 1024),
        ({"tokens": 10**9, "epochs": 10}, 6, 384),  # at most a day
    ],
)
def test_what_is_chosen(resources, layers, width):
    options = chosen(**resources).options
    assert (options["encoder_layers"], options["hidden_size"]) == (layers, width)


def test_few_data_and_much_time_mean_much_dropout():
    assert chosen(minutes=120).options["dropout"] == 0.3
    assert chosen(minutes=120, tokens=3_000_000).options["dropout"] == 0.1


@pytest.mark.parametrize(
    ("resources", "cores"),
    [
        ({"device": "cpu", "threads": 4, "processes": 2}, 8),
        ({"device": "cuda", "threads": 4, "processes": 2}, 600),
        ({"device": "xpu", "threads": 4}, 300),  # taken for a fast device, too
    ],
)
def test_cores(resources, cores):
    assert Resources(tokens=1, minutes=2, **resources).core_minutes == 2 * cores


def test_resources_are_told():
    told = str(Resources(480_000, "cpu", 1, 2, epochs=10.0))
    assert told == "about 480,000 tokens for 10 epochs (of at most a day) on 1 × 2 threads, 2,880 core-minutes"
    told = str(Resources(None, "cuda", 8, 2, minutes=90, steps=1000))
    assert told == "a stream for 1,000 updates or 90 minutes on 8 × cuda, 216,000 core-minutes"


@pytest.mark.parametrize(("width", "rate"), [(32, 5e-3), (384, 1e-4), (768, 5e-5), (4096, 2e-5)])
def test_a_wider_checkpoint_gets_a_smaller_learning_rate(width, rate):
    row = choose(rows_from_a_checkpoint(), lambda row: {"hidden_size": width})
    assert row.options["learning_rate"] == rate
    assert LoopArguments("run", **{k: v for k, v in row.options.items() if k != "max_tokens"}).max_steps is None


def test_no_row_says_what_the_user_must_decide():
    rows = [row for family in FAMILIES for row in rows_from_nothing(family)] + rows_from_a_checkpoint()
    decided = {"output_dir", "seed", "train_file", "preset", "model", "max_minutes", "max_steps"}
    assert not decided & {name for row in rows for name in row.options}
    assert {f.name for f in dataclasses.fields(LoopArguments)} >= decided - {"train_file", "preset", "model"}
