"""Published sizes: complete, buildable, and overridden by what the caller says."""

import pytest
import torch

import triptych
from triptych import TriptychConfig, TriptychDecoderConfig, TriptychEncoderConfig

FAMILIES = {
    "triptych": (TriptychConfig, triptych.TriptychForConditionalGeneration),
    "triptych_encoder": (TriptychEncoderConfig, triptych.TriptychEncoderForMaskedLM),
    "triptych_decoder": (TriptychDecoderConfig, triptych.TriptychDecoderForCausalLM),
}
PRESETS = [(model_type, name) for model_type in FAMILIES for name in triptych.preset_names(model_type)]


def test_every_preset_belongs_to_one_family():
    assert sorted(name for _, name in PRESETS) == sorted(triptych.preset_names())
    assert len(set(triptych.preset_names())) == len(triptych.preset_names())
    assert {"transformer-base", "transformer-big", "bert-base", "gpt2"} <= set(triptych.preset_names())


@pytest.mark.parametrize(("model_type", "name"), PRESETS)
def test_every_preset_builds(model_type, name):
    config_class, model_class = FAMILIES[model_type]
    config = config_class.from_preset(name)
    with torch.device("meta"):
        model = model_class(config)
    assert model.config.model_type == model_type
    assert triptych.preset_info(name)["source"]


def test_overrides_replace_fields_of_the_preset():
    config = TriptychConfig.from_preset("transformer-big", dropout=0.0, encoder_layers=2, label_smoothing=0)
    assert (config.dropout, config.encoder_layers, config.label_smoothing) == (0.0, 2, 0)
    assert (config.decoder_layers, config.hidden_size) == (6, 1024)
    assert TriptychConfig.from_preset("transformer-big").dropout == 0.3


def test_derived_sizes_follow_an_override():
    assert TriptychConfig.from_preset("tiny", num_attention_heads=2).head_dim == 16


def test_an_override_is_validated():
    with pytest.raises(ValueError, match=r"hidden_size=30 is not a multiple of num_attention_heads=4"):
        TriptychConfig.from_preset("tiny", hidden_size=30)


@pytest.mark.parametrize("ask", [TriptychConfig.from_preset, triptych.preset_info])
def test_unknown_preset_lists_the_known_ones(ask):
    with pytest.raises(ValueError, match=r"unknown preset 'transformer-huge'.*transformer-base") as error:
        ask("transformer-huge")
    assert "tiny" in str(error.value)


def test_preset_of_another_family_says_so():
    with pytest.raises(ValueError, match=r"preset 'gpt2' is a 'triptych_decoder', not a 'triptych'.*transformer-base"):
        TriptychConfig.from_preset("gpt2")


def test_presets_are_copies():
    triptych.preset_info("transformer-base")["bleu"] = 99
    assert triptych.preset_info("transformer-base")["bleu"] == 25.8
