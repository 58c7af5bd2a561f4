"""How weights start, by statistics of larger models, and that loading spares what was loaded."""

import math

import pytest
import torch
from torch import nn

from triptych import (
    TriptychConfig,
    TriptychDecoderConfig,
    TriptychDecoderForCausalLM,
    TriptychDecoderModel,
    TriptychEncoderConfig,
    TriptychEncoderForMaskedLM,
    TriptychForConditionalGeneration,
)

SIZES = {"vocab_size": 1000, "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256}


def linears(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear) and not name.endswith("lm_head")}


def assert_biases_and_norms_are_neutral(model):
    for name, module in model.named_modules():
        if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
            assert torch.equal(module.weight, torch.ones_like(module.weight)), name
        if getattr(module, "bias", None) is not None and isinstance(module.bias, nn.Parameter):
            assert not module.bias.any(), name


def test_xavier():
    torch.manual_seed(0)
    model = TriptychForConditionalGeneration(TriptychConfig(**SIZES, encoder_layers=2, decoder_layers=2, head_dim=16))
    for name, linear in linears(model).items():
        weight, fans = linear.weight, linear.in_features + linear.out_features
        assert weight.abs().max() <= math.sqrt(6 / fans), name
        assert weight.std().item() == pytest.approx(math.sqrt(2 / fans), rel=0.05), name
    embeddings = model.get_input_embeddings().weight
    assert embeddings.std().item() * math.sqrt(128) == pytest.approx(1, rel=0.02)
    assert_biases_and_norms_are_neutral(model)


def test_normal():
    torch.manual_seed(0)
    config = TriptychEncoderConfig(**SIZES, num_hidden_layers=2, initializer_range=0.05)
    model = TriptychEncoderForMaskedLM(config)
    for name, linear in linears(model).items():
        assert linear.weight.std().item() == pytest.approx(0.05, rel=0.05), name
    body = model.model
    for table in (body.embed_tokens, body.positions.table):
        assert table.weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert_biases_and_norms_are_neutral(model)


def test_depth_scaled():
    torch.manual_seed(0)
    model = TriptychDecoderForCausalLM(TriptychDecoderConfig(**{**SIZES, "vocab_size": 50257}, num_hidden_layers=8))
    for name, linear in linears(model).items():
        writes = name.endswith(("o_proj", "down_proj"))
        expected = 0.02 / math.sqrt(2 * 8) if writes else 0.02
        assert linear.weight.std().item() == pytest.approx(expected, rel=0.05), name
    assert_biases_and_norms_are_neutral(model)


@pytest.mark.parametrize("initializer", ["normal", "depth_scaled", "xavier"])
def test_loaded_weights_are_not_initialised_again(initializer, tmp_path, make_model, make_config):
    model = make_model("decoder", initializer=initializer)
    model.model.save_pretrained(tmp_path)  # the body alone: the head on top of it must keep it
    loaded, report = TriptychDecoderForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    for name, value in model.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


def test_what_a_body_lacks_is_initialised(tmp_path, make_model):
    model = make_model("encoder", initializer_range=0.05)
    model.model.save_pretrained(tmp_path)
    torch.manual_seed(1)
    loaded, report = TriptychEncoderForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert {key.split(".")[0] for key in report["missing_keys"]} == {"transform", "lm_head"}
    assert loaded.transform.dense.weight.std().item() == pytest.approx(0.05, rel=0.1)
    assert torch.equal(loaded.transform.norm.weight, torch.ones(32))
    assert not loaded.lm_head.bias.any()
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "rope", [{"rope_type": "default"}, {"rope_type": "linear", "factor": 4.0}, {"rope_type": "dynamic", "factor": 2.0}]
)
def test_rotary_buffers_are_filled_after_a_load(tmp_path, make_config, rope, dtype):
    """Loading goes through the meta device, and no checkpoint holds the frequencies."""
    fresh = TriptychDecoderModel(make_config("decoder", positions="rotary", rope_parameters=rope))
    fresh.save_pretrained(tmp_path)
    loaded = TriptychDecoderModel.from_pretrained(tmp_path, dtype=dtype)
    assert loaded.positions.inv_freq.dtype == torch.float32
    assert torch.equal(loaded.positions.inv_freq, fresh.positions.inv_freq)
    assert torch.equal(loaded.positions.original_inv_freq, fresh.positions.original_inv_freq)
    assert not any("inv_freq" in name for name in fresh.state_dict())
