"""Quantised weights (torchao, bitsandbytes, quanto) and quantised caches (quanto, hqq), all on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import BitsAndBytesConfig, QuantizedCache, QuantoConfig, TorchAoConfig

WIDE = {"hidden_size": 64, "intermediate_size": 128}  # nf4 quantises blocks of 64 weights


def torchao(name: str) -> Callable[[Any], Any]:
    return lambda library: TorchAoConfig(getattr(library("torchao.quantization"), name)())


def bitsandbytes(**options: Any) -> Callable[[Any], Any]:
    def make(library: Any) -> BitsAndBytesConfig:
        library("bitsandbytes")
        return BitsAndBytesConfig(**options)

    return make


def quanto(library: Any) -> QuantoConfig:
    library("optimum.quanto")
    return QuantoConfig(weights="int8")


# How it is asked for, and how far it may be from float32, relative to the size of the logits. (Unrelated logits: √2.)
SCHEMES = {
    "torchao int8": (torchao("Int8WeightOnlyConfig"), 0.1),
    "torchao int8 activations": (torchao("Int8DynamicActivationInt8WeightConfig"), 0.2),
    "bitsandbytes int8": (bitsandbytes(load_in_8bit=True), 0.2),
    "bitsandbytes nf4": (
        bitsandbytes(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32),
        0.6,
    ),
    "quanto int8": (quanto, 0.2),
}
SAVED = [name for name in SCHEMES if not name.startswith("quanto")]  # transformers cannot save quanto's


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual - expected).norm() / expected.norm()).item()


@pytest.fixture
def quantise(library, make_model, family, tmp_path: Path) -> Callable[[str], tuple[nn.Module, nn.Module]]:
    """A model in float32, and the same loaded from its folder in a quantised scheme."""

    def load(scheme: str) -> tuple[nn.Module, nn.Module]:
        model = make_model(family, **WIDE)
        model.save_pretrained(tmp_path / "float32")
        config = SCHEMES[scheme][0](library)
        # float32 compute; a quantised model is loaded in bfloat16 or float16 where nothing is said
        return model, type(model).from_pretrained(
            tmp_path / "float32", quantization_config=config, dtype=torch.float32
        )

    return load


def stored_bits(linear: nn.Linear) -> float:
    """Bits of storage per weight, without scales."""
    weight = getattr(linear.weight, "qdata", getattr(linear.weight, "_data", linear.weight))
    return 8 * weight.numel() * weight.element_size() / (linear.in_features * linear.out_features)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_logits_stay_close(quantise, family, scheme: str, logits):
    model, quantised = quantise(scheme)
    error = relative_error(logits(quantised, family), logits(model, family))
    assert 0 < error < SCHEMES[scheme][1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_linear_map_but_the_tied_head_is_quantised(quantise, scheme: str):
    _, quantised = quantise(scheme)
    maps = {name: module for name, module in quantised.named_modules() if isinstance(module, nn.Linear)}
    head = maps.pop(next(name for name in maps if name.endswith("lm_head")))
    bits = 4 if "nf4" in scheme else 8
    in_layers = {name: stored_bits(linear) for name, linear in maps.items() if ".layers." in name}
    assert in_layers
    assert set(in_layers.values()) == {bits}
    assert head.weight is quantised.get_input_embeddings().weight
    assert head.weight.dtype == torch.float32


@pytest.mark.parametrize("scheme", SAVED)
def test_it_is_saved_and_loaded_again(quantise, family, scheme: str, logits, tmp_path: Path):
    _, quantised = quantise(scheme)
    # Before the first use: on CPUs with AVX512-BF16, bitsandbytes repacks nf4 weights then, and saving unpacks them
    # with rounded scales.
    quantised.save_pretrained(tmp_path / "quantised")
    loaded = type(quantised).from_pretrained(tmp_path / "quantised", dtype=torch.float32)
    assert loaded.config.quantization_config is not None
    assert torch.equal(logits(loaded, family), logits(quantised, family))


@pytest.mark.parametrize("scheme", ["bitsandbytes int8", "bitsandbytes nf4"])
def test_lora_trains_over_quantised_weights(library, quantise, family, scheme: str, train):
    peft = library("peft")
    _, quantised = quantise(scheme)
    before = {name: value.clone() for name, value in quantised.state_dict().items()}
    model = peft.prepare_model_for_kbit_training(quantised, use_gradient_checkpointing=False)
    model = peft.get_peft_model(model, peft.LoraConfig(r=4))
    losses = train(model, family, steps=8, learning_rate=3e-2)
    assert losses[-1] < losses[0]
    weights = {
        name: parameter for name, parameter in quantised.named_parameters() if name in before and "lora" not in name
    }
    assert weights
    assert all(torch.equal(parameter, before[name]) for name, parameter in weights.items())


CACHES = {
    "quanto": ("optimum.quanto", {"nbits": 4, "q_group_size": 32, "residual_length": 8}, 0.5),
    "hqq": ("hqq", {"nbits": 8, "q_group_size": 32, "residual_length": 8, "axis_key": 1, "axis_value": 1}, 0.1),
    "fp8": (None, {}, 0.3),
}


BACKENDS = [
    pytest.param("quanto", marks=pytest.mark.slow),  # compiles its kernels at the first use
    "hqq",
    "fp8",
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_from_a_quantised_cache_stay_close(library, make_model, words, backend: str):
    needs, options, tolerance = CACHES[backend]
    if needs:
        library(needs)
    model = make_model("decoder", **WIDE, num_attention_heads=2)
    ids = words(2, 30)
    cache = QuantizedCache(backend=backend, config=model.config, **options)
    with torch.no_grad():
        expected = model(ids, use_cache=False).logits[:, 20:]
        model(ids[:, :20], past_key_values=cache, use_cache=True)
        steps = [model(ids[:, i : i + 1], past_key_values=cache, use_cache=True).logits for i in range(20, 30)]
    assert cache.get_seq_length() == 30
    assert 0 < relative_error(torch.cat(steps, dim=1), expected) < tolerance


@pytest.mark.parametrize("backend", BACKENDS)
def test_generation_with_a_quantised_cache(library, make_model, words, backend: str):
    needs, options, _ = CACHES[backend]
    if needs:
        library(needs)
    model = make_model("decoder", **WIDE, num_attention_heads=2)
    ids, choices = words(2, 12), {"max_new_tokens": 12, "do_sample": False, "return_dict_in_generate": True}
    output = model.generate(
        ids, **choices, cache_implementation="quantized", cache_config={"backend": backend, **options}
    )
    assert isinstance(output.past_key_values, QuantizedCache)
    expected = model.generate(ids, **choices).sequences
    assert output.sequences.shape == expected.shape
    assert torch.equal(output.sequences[:, :13], expected[:, :13])  # the first new token is of the exact prefill
