"""The plans that say how a model is divided fit the model: nothing named in vain, no projection forgotten."""

import itertools
import re

import pytest
from torch import nn
from transformers.distributed import DistributedConfig

import triptych
from triptych.configuration.plans import check_parallelism

HEADS = [name for name in triptych.__all__ if "For" in name]
BODIES = ["TriptychModel", "TriptychEncoderModel", "TriptychDecoderModel"]
CHOICES = {
    "positions": ["learned", "rotary", "relative", "alibi"],
    "residual": ["post", "pre", "parallel", "parallel_norms"],
    "feed_forward": ["plain", "gated"],
    "tie_word_embeddings": [True, False],
}


def pattern(name):
    """A module's name with * for the numbers of layers, as plans write it."""
    return re.sub(r"\.\d+(?=\.|$)", ".*", name)


@pytest.mark.parametrize("name", [*HEADS, *BODIES])
def test_plans_fit_the_model(make_model, name):
    for values in itertools.product(*CHOICES.values()):
        model = make_model(name, **dict(zip(CHOICES, values, strict=True)))
        modules = {pattern(name): module for name, module in model.named_modules()}
        assert model.fsdp_plan.keys() <= modules.keys()
        assert model.tp_plan.keys() <= modules.keys()
        within_layers = {name for name, m in modules.items() if ".*." in name and isinstance(m, nn.Linear)}
        assert within_layers <= model.tp_plan.keys()
        assert {name for name in modules if name.endswith("embed_tokens")} <= model.tp_plan.keys()
        assert "lm_head" not in modules or model.tp_plan["lm_head"] == "colwise_gather_output"


@pytest.mark.parametrize("name", BODIES)
def test_plans_are_not_saved(make_model, name):
    """They follow from the other fields."""
    assert not [field for field in make_model(name).config.to_dict() if "plan" in field]


def test_a_tied_matrix_is_not_divided_unevenly_both_ways(make_model):
    """FSDP2 within tensor parallelism keeps it twice, and the two are the same only if no row is left over."""
    config, both = make_model("TriptychForConditionalGeneration").config, DistributedConfig(tp_size=2, fsdp_size=2)
    with pytest.raises(ValueError, match=r"a tied matrix of 97 words.*pad_to_multiple_of=4"):
        check_parallelism(config, both, is_tied=True)
    check_parallelism(config, both, is_tied=False)
    config.vocab_size = 100
    check_parallelism(config, both, is_tied=True)


@pytest.mark.parametrize("name", BODIES)
def test_a_bias_that_no_plan_divides_is_refused(make_model, name):
    """ALiBi has a slope for every head and no table; relative positions have one, which the plan divides."""
    two = DistributedConfig(tp_size=2)
    model = make_model(name, positions="alibi")
    with pytest.raises(ValueError, match=r"tp_size=2 cannot divide the bias that positions='alibi' adds"):
        type(model).maybe_distribute_model(model, two)
    type(model).check_biases(make_model(name, positions="relative").config, 2)
