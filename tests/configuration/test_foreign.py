"""What other programs, or an attacker, write into config.json is used, ignored or refused by name."""

import pytest
from transformers import AutoConfig, MarianConfig

from copies import copy_with
from triptych import (
    TriptychConfig,
    TriptychDecoderConfig,
    TriptychDecoderForCausalLM,
    TriptychEncoderConfig,
    TriptychEncoderModel,
    TriptychForConditionalGeneration,
)
from triptych.configuration import foreign

CONFIGS = [TriptychConfig, TriptychEncoderConfig, TriptychDecoderConfig]
MODELS = [TriptychForConditionalGeneration, TriptychEncoderModel, TriptychDecoderForCausalLM]
SIZES = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 64, "intermediate_size": 8}
KERNEL = "kernels-community/flash-attn"


@pytest.fixture(autouse=True)
def fetched(monkeypatch):
    """The kernels that transformers would have fetched from the Hub."""
    names = []

    def fetch(name, *args, **kwargs):
        names.append(name)
        raise ImportError(f"fetched {name}")

    monkeypatch.setattr("transformers.integrations.hub_kernels.load_and_register_attn_kernel", fetch)
    return names


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The directory of a model of each class."""

    def save(model_class):
        directory = tmp_path_factory.mktemp("model")
        model_class(model_class.config_class(**SIZES)).save_pretrained(directory)
        return directory

    return {model_class: save(model_class) for model_class in MODELS}


@pytest.fixture
def directory_with(saved, tmp_path):
    """The directory of a model whose config.json says something more."""

    return lambda model_class, more: copy_with(saved[model_class], tmp_path, more)


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("value", [KERNEL, f"paged|{KERNEL}", f"{KERNEL}@main:forward", {"": KERNEL}])
def test_a_kernel_of_the_hub_cannot_be_chosen_by_a_file(model_class, name, value, directory_with, fetched, caplog):
    directory = directory_with(model_class, {name: value})
    model = model_class.from_pretrained(directory)
    assert model.config._attn_implementation == "sdpa"
    assert AutoConfig.from_pretrained(directory)._attn_implementation is None
    assert f"ignored {name}='{value[''] if isinstance(value, dict) else value}'" in caplog.text
    assert not fetched
    with pytest.raises(ImportError, match="fetched"):
        model_class.from_pretrained(directory, attn_implementation=KERNEL)
    assert fetched == [KERNEL]


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("value", ["eager", "sdpa", "flex_attention", "flash_attention_2", "paged|eager", None])
@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_local_kernel_can_be_chosen_by_a_file(config_class, name, value):
    assert config_class.from_dict({name: value})._attn_implementation == value


def test_flash_attention_that_would_be_fetched_is_a_kernel_of_the_hub(monkeypatch):
    monkeypatch.setattr(foreign, "is_kernels_available", lambda: True)
    matrix = "transformers.modeling_flash_attention_utils.FLASH_ATTENTION_COMPATIBILITY_MATRIX"
    for is_installed in (False, True):
        monkeypatch.setattr(matrix, {2: {"general_availability_check": lambda answer=is_installed: answer}})
        assert foreign.comes_from_the_hub("flash_attention_2") is not is_installed
        assert not foreign.comes_from_the_hub("eager")


@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_kernel_of_one_layer_cannot_be_chosen_by_a_file(config_class, caplog):
    config = config_class.from_dict({"per_layer_config": {"0": {"_attn_implementation": KERNEL}}})
    assert config.per_layer_config[0]._attn_implementation is None
    assert KERNEL in caplog.text


def test_a_configuration_of_transformers_forgets_kernels_only(caplog):
    config = MarianConfig(attn_implementation=KERNEL)
    assert foreign.names_a_kernel(config)
    assert foreign.forget_kernels(config)._attn_implementation is None
    assert KERNEL in caplog.text
    assert foreign.forget_kernels(MarianConfig(attn_implementation="eager"))._attn_implementation == "eager"


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dtype", "float8"),
        ("dtype", "nope"),
        ("dtype", "load"),
        ("dtype", "int8"),
        ("dtype", 5),
        ("torch_dtype", "nope"),
        ("quantization_config", 5),
        ("quantization_config", "bits"),
        ("id2label", {"a": "b"}),
        ("id2label", 5),
        ("per_layer_config", 5),
        ("per_layer_config", {"0": 5}),
        ("per_layer_config", {"x": {}}),
        ("per_layer_config", {"0": {"skip": 5}}),
        ("per_layer_config", {"0": {"to_dict": 5}}),
        ("auto_map", 5),
        ("attn_implementation", 5),
        ("attn_implementation", ["eager"]),
        ("_attn_implementation", 5),
        ("transformers_weights", 5),
        ("transformers_weights", "../model.safetensors"),
    ],
)
def test_a_value_of_a_wrong_kind_is_refused_by_name(config_class, name, value):
    with pytest.raises(ValueError, match=name) as error:
        config_class.from_dict({**SIZES, name: value})
    assert f"{value!r}" in str(error.value)


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize(
    "more",
    [
        {"layer_types": ["full_attention"]},
        {"layer_types": None},
        {"mlp_layer_types": 5, "sub_configs": 5, "to_dict": 5, "attribute_map": {"a": "b"}, "__class__": "x"},
        {"_heterogeneity_spec": 5},
        {"num_labels": None},
        {"id2label": None, "label2id": None, "dtype": None, "quantization_config": None, "per_layer_config": None},
        {"text_config": {"hidden_size": 3}},
        {"text_config": 5, "decoder": {}, "text_encoder": "x"},
    ],
)
def test_what_means_nothing_here_passes(model_class, more, directory_with):
    directory = directory_with(model_class, more)
    config = AutoConfig.from_pretrained(directory)
    assert config.hidden_size == 16
    assert config.get_text_config(decoder=True).vocab_size == 64
    assert type(config).from_dict(config.to_dict()).to_dict() == config.to_dict()
    assert model_class.from_pretrained(directory).config.num_labels == 2


@pytest.mark.parametrize("value", [None, 5, "x"])
def test_a_map_of_code_that_is_none_is_named(value, directory_with):
    with pytest.raises(ValueError, match=r"config\.json is damaged \(auto_map="):
        TriptychEncoderModel.from_pretrained(directory_with(TriptychEncoderModel, {"auto_map": value}))
