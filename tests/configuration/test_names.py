"""A wrong name is refused where it is given in code, and passes where other tools have written it into a file."""

import dataclasses
import json

import pytest
from transformers import AutoConfig, BartConfig, BertConfig, GPT2Config, GPTNeoXConfig, LlamaConfig, T5Config

from triptych import TriptychConfig, TriptychDecoderConfig, TriptychDecoderForCausalLM, TriptychEncoderConfig
from triptych.configuration.names import ELSEWHERE

CONFIGS = [TriptychConfig, TriptychEncoderConfig, TriptychDecoderConfig]


@pytest.mark.parametrize(
    ("config_class", "wrong", "meant"),
    [
        (TriptychDecoderConfig, "hidden_sise", "hidden_size"),
        (TriptychDecoderConfig, "num_layers", "num_hidden_layers"),
        (TriptychConfig, "num_layers", "num_hidden_layers"),
        (TriptychConfig, "num_decoder_layers", "decoder_layers"),
        (TriptychDecoderConfig, "num_decoder_layers", "num_hidden_layers"),
        (TriptychEncoderConfig, "hidden_act", "activation"),
        (TriptychEncoderConfig, "layer_norm_eps", "norm_eps"),
        (TriptychEncoderConfig, "droput", "dropout"),
        (TriptychConfig, "label_smooting", "label_smoothing"),
        (TriptychConfig, "share_decoder_embeddings", "share_encoder_decoder_embeddings"),
        (TriptychDecoderConfig, "sliding_window", "attention_pattern"),
        (TriptychDecoderConfig, "n_embd", "hidden_size"),
        (TriptychConfig, "d_modell", "d_model"),
    ],
)
def test_a_wrong_name_in_code_is_refused(config_class, wrong, meant, tmp_path):
    message = f"{config_class.__name__} has no field '{wrong}'; did you mean '{meant}'?"
    with pytest.raises(ValueError, match="has no field") as error:
        config_class(**{wrong: 3})
    assert message in str(error.value)
    with pytest.raises(ValueError, match="has no field"):
        AutoConfig.for_model(config_class.model_type, **{wrong: 3})
    config_class().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no field") as error:
        config_class.from_pretrained(tmp_path, **{wrong: 3})
    assert message in str(error.value)


@pytest.mark.parametrize("other", [BartConfig, BertConfig, GPT2Config, GPTNeoXConfig, LlamaConfig, T5Config])
@pytest.mark.parametrize("config_class", CONFIGS)
def test_fields_of_other_models_mean_nothing_silently(config_class, other):
    """Each field of another configuration is one of ours too, is refused, or is known to pass."""
    theirs = {f.name for f in dataclasses.fields(other)}
    sizes = {name for name in theirs if name.startswith(("n_", "num_", "d_", "hidden_", "intermediate_", "max_pos"))}
    for name in sizes - config_class.known_names():
        with pytest.raises(ValueError, match=f"has no field '{name}'; did you mean"):
            config_class(**{name: 2})


@pytest.mark.parametrize("config_class", CONFIGS)
def test_each_name_of_another_configuration_leads_to_a_field(config_class):
    for name in ELSEWHERE.keys() - config_class.known_names():
        with pytest.raises(ValueError, match=f"has no field '{name}'"):
            config_class(**{name: 2})


@pytest.mark.parametrize("config_class", CONFIGS)
def test_what_transformers_knows_and_what_nobody_knows_passes(config_class):
    config = config_class(
        torch_dtype="bfloat16", num_labels=3, sep_token_id=1, forced_eos_token_id=2, is_decoder=False, my_tool={"a": 1}
    )
    assert config.num_labels == 3
    assert config.sep_token_id == 1
    assert config.my_tool == {"a": 1}


@pytest.mark.parametrize("config_class", CONFIGS)
def test_what_other_tools_write_into_a_file_passes(config_class, tmp_path):
    config_class().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    foreign = {"hidden_sise": 3, "num_layers_total": 12, "quantization_config": {"bits": 8}, "unsloth_version": "1"}
    file.write_text(json.dumps(json.loads(file.read_text()) | foreign))
    for config in (
        config_class.from_pretrained(tmp_path),
        AutoConfig.from_pretrained(tmp_path),
        config_class.from_json_file(file),
        config_class.from_dict(json.loads(file.read_text())),
    ):
        assert config.hidden_sise == 3
        assert config.quantization_config == {"bits": 8}
        assert "_read_from_file" not in config.to_dict()
    again = config_class.from_dict(config.to_dict())
    assert again.to_dict() == config.to_dict()


def test_a_model_made_from_a_file_refuses_a_wrong_option(tmp_path):
    config = TriptychDecoderConfig.from_preset("tiny-decoder")
    TriptychDecoderForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises((ValueError, TypeError), match="hidden_sise"):
        TriptychDecoderForCausalLM.from_pretrained(tmp_path, hidden_sise=3)
    model = TriptychDecoderForCausalLM.from_pretrained(tmp_path, dropout=0.5, label_smoothing=0.2)
    assert (model.config.dropout, model.config.label_smoothing) == (0.5, 0.2)


@pytest.mark.parametrize("config_class", [TriptychConfig, TriptychEncoderConfig, TriptychDecoderConfig])
def test_update_refuses_what_the_constructor_refuses(config_class):
    config = config_class()
    for wrong, meant in (("hidden_sise", "hidden_size"), ("n_embd", "hidden_size")):
        with pytest.raises(ValueError, match=f"{config_class.__name__} has no field '{wrong}'.*'{meant}'"):
            config.update({"dropout": 0.25, wrong: 3})
        assert config.dropout == 0.1
    config.update({"dropout": 0.25, "num_labels": 5, "d_model": 512, "task_specific_params": {}})
    assert (config.dropout, config.num_labels, config.task_specific_params) == (0.25, 5, {})
