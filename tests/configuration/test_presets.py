"""Published sizes: complete, buildable, and overridden by what the caller says."""

import pytest
import torch
import transformers

import triptych
from triptych import TriptychConfig, TriptychDecoderConfig, TriptychEncoderConfig

FAMILIES = {
    "triptych": (TriptychConfig, triptych.TriptychForConditionalGeneration),
    "triptych_encoder": (TriptychEncoderConfig, triptych.TriptychEncoderForMaskedLM),
    "triptych_decoder": (TriptychDecoderConfig, triptych.TriptychDecoderForCausalLM),
}
SIZES = {
    "bert": ("base", "large"),
    "roberta": ("base", "large"),
    "distilbert": ("base",),
    "gpt2": ("medium", "large", "xl"),
    "gpt3": ("small", "medium", "large", "xl", "2.7b", "6.7b", "13b", "175b"),
    "t5": ("small", "base", "large", "3b", "11b"),
    "t5-v1.1": ("small", "base", "large", "xl", "xxl"),
    "palm": ("8b", "62b", "540b"),
    "tinyllama": ("1.1b",),
    "smollm": ("135m", "360m"),
    "transformer": ("base", "big", "small", "tiny"),
}
NAMES = {"gpt1", "gpt2", *(f"{system}-{size}" for system, sizes in SIZES.items() for size in sizes)}
RECIPE = {"optimizer", "schedule", "batch", "objective", "data", "steps", "dropout", "source"}
PRESETS = [(model_type, name) for model_type in FAMILIES for name in triptych.preset_names(model_type)]


def test_every_preset_belongs_to_one_family():
    assert sorted(name for _, name in PRESETS) == sorted(triptych.preset_names())
    assert len(set(triptych.preset_names())) == len(triptych.preset_names())
    assert set(triptych.preset_names()) >= NAMES


@pytest.mark.parametrize(("model_type", "name"), PRESETS)
def test_every_preset_builds(model_type, name):
    config_class, model_class = FAMILIES[model_type]
    config = config_class.from_preset(name)
    with torch.device("meta"):
        model = model_class(config)
    assert model.config.model_type == model_type
    assert triptych.preset_info(name)["source"]
    assert hasattr(triptych, triptych.preset_info(name)["counted"].partition(".")[0])


@pytest.mark.parametrize(("model_type", "name"), PRESETS)
def test_no_preset_makes_its_configuration_complain(model_type, name, caplog):
    transformers.utils.logging.warning_once.cache_clear()
    config = FAMILIES[model_type][0].from_preset(name)
    assert caplog.text == ""
    assert type(config).from_dict(config.to_dict()).to_dict() == config.to_dict()


@pytest.mark.parametrize("name", triptych.preset_names())
def test_every_published_model_has_its_recipe(name):
    if name in ("tiny", "tiny-encoder", "tiny-decoder"):
        with pytest.raises(ValueError, match=f"preset '{name}' has no recipe"):
            triptych.preset_recipe(name)
        return
    recipe = triptych.preset_recipe(name)
    assert recipe.keys() >= RECIPE
    assert recipe["optimizer"].keys() == {"name", "betas", "eps", "weight_decay", "clip"}
    assert recipe["schedule"].keys() >= {"name", "warmup_steps"}
    assert recipe["schedule"].keys() & {"learning_rate", "scale"}
    assert isinstance(recipe["source"], str)
    assert isinstance(recipe["objective"], str)


def test_a_recipe_says_only_what_differs_from_another():
    base, big = triptych.preset_recipe("transformer-base"), triptych.preset_recipe("transformer-big")
    assert big["checkpoints"] == {"averaged": 20, "minutes": 10}
    assert {key for key in base if base[key] != big[key]} == {"steps", "dropout", "checkpoints"}
    rates = [
        triptych.preset_recipe(n)["schedule"]["learning_rate"] for n in triptych.preset_names() if n.startswith("gpt3")
    ]
    assert rates == [6e-4, 3e-4, 2.5e-4, 2e-4, 1.6e-4, 1.2e-4, 1e-4, 0.6e-4]


def test_the_tiny_transformer_is_the_small_one_at_half_its_width():
    tiny, small = (TriptychConfig.from_preset(f"transformer-{size}") for size in ("tiny", "small"))
    for config in (tiny, small):
        assert (config.encoder_layers, config.decoder_layers, config.num_attention_heads) == (4, 4, 4)
        assert (config.dropout, config.residual) == (0.3, "pre")
    assert [(config.hidden_size, config.intermediate_size) for config in (tiny, small)] == [(128, 256), (256, 1024)]
    assert triptych.preset_recipe("transformer-tiny") == triptych.preset_recipe("transformer-small")


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


@pytest.mark.parametrize("ask", [TriptychConfig.from_preset, triptych.preset_info, triptych.preset_recipe])
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
    triptych.preset_recipe("transformer-base")["optimizer"]["eps"] = 1
    assert triptych.preset_recipe("transformer-base")["optimizer"]["eps"] == 1e-9
