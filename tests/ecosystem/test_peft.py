"""peft: adapters attach without being told where, train, travel apart from the model, and merge into it."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from triptych import TriptychDecoderForCausalLM

# The attention projections that peft adapts in Llama; the encoder-decoder has them three times per layer pair.
LORA_TARGETS = {"q_proj", "v_proj"}


@pytest.fixture
def peft(library):
    return library("peft")


def adapted(model: torch.nn.Module) -> set[str]:
    """The names of the layers that carry an adapter."""
    return {name.split(".lora_A")[0].rsplit(".", 1)[-1] for name, _ in model.named_parameters() if ".lora_A" in name}


def randomise(model: torch.nn.Module) -> None:
    """A new LoRA adapter changes nothing; this one does."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("statements", ["import peft, triptych", "import triptych, peft"])
def test_lora_needs_no_targets_in_either_order_of_import(peft, statements: str):
    program = f"""
import sys
{statements}
model = triptych.TriptychDecoderForCausalLM(triptych.TriptychDecoderConfig.from_preset("tiny-decoder"))
print(sorted(peft.get_peft_model(model, peft.LoraConfig()).peft_config["default"].target_modules))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, str(sorted(LORA_TARGETS))), result.stderr


def test_peft_is_neither_imported_nor_needed():
    program = """
import sys
sys.modules["peft"] = None  # what an import finds where peft is not installed
import triptych
model = triptych.TriptychDecoderForCausalLM(triptych.TriptychDecoderConfig.from_preset("tiny-decoder"))
print(model.config.to_dict()["model_type"], [name for name in sys.modules if name.startswith("peft.")])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "triptych_decoder []"), result.stderr


@pytest.mark.parametrize(
    ("method", "targets"),
    [
        ("LoraConfig", LORA_TARGETS),
        ("AdaLoraConfig", LORA_TARGETS),
        ("LoHaConfig", LORA_TARGETS),
        ("VeraConfig", LORA_TARGETS),
        ("OFTConfig", LORA_TARGETS),
        ("IA3Config", {"k_proj", "v_proj", "down_proj"}),
    ],
)
def test_the_defaults_are_llamas_for_every_method(peft, make_model, family, method: str, targets: set[str]):
    options = {"total_step": 10} if method == "AdaLoraConfig" else {}
    model = peft.get_peft_model(make_model(family), getattr(peft, method)(**options))
    assert set(model.peft_config["default"].target_modules) == targets


def test_lora_trains_travels_and_merges(peft, make_model, family, train, logits, tmp_path: Path):
    base = make_model(family)
    before, weights = logits(base, family), copy.deepcopy(base.state_dict())
    model = peft.get_peft_model(base, peft.LoraConfig(r=4))
    assert adapted(model) == LORA_TARGETS
    assert torch.equal(logits(model, family), before)

    losses = train(model, family)
    assert losses[-1] < losses[0]
    after = logits(model, family)
    assert (after - before).abs().max() > 1e-3

    model.save_pretrained(tmp_path)
    base = make_model(family)
    assert all(torch.equal(value, weights[name]) for name, value in base.state_dict().items())
    loaded = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    assert torch.equal(logits(loaded, family), after)
    with loaded.disable_adapter():
        assert torch.equal(logits(loaded, family), before)

    merged = loaded.merge_and_unload()
    assert type(merged) is type(base)
    assert merged.state_dict().keys() == weights.keys()
    torch.testing.assert_close(logits(merged, family), after, rtol=1e-4, atol=1e-4)


def test_a_merged_model_is_saved_as_any_other(peft, make_model, family, logits, tmp_path: Path):
    model = peft.get_peft_model(make_model(family), peft.LoraConfig(r=4))
    randomise(model)
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path)
    loaded, report = type(merged).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert torch.equal(logits(loaded, family), logits(merged, family))


def test_lora_on_every_linear_map_leaves_out_the_head(peft, make_model, family, logits):
    model = peft.get_peft_model(make_model(family), peft.LoraConfig(r=4, target_modules="all-linear"))
    assert adapted(model) >= {"q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"}
    assert "lm_head" not in adapted(model)
    randomise(model)
    with_adapter = logits(model, family)
    torch.testing.assert_close(logits(model.merge_and_unload(), family), with_adapter, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tied", [True, False])
def test_trained_embeddings_travel_with_the_adapter(
    peft, make_model, causal_family, tied: bool, train, logits, tmp_path
):
    """`modules_to_save` and tied matrices: what the head maps with stays what the input is embedded with."""
    base = make_model(causal_family, tie_word_embeddings=tied)
    config = peft.LoraConfig(r=4, modules_to_save=["embed_tokens"], ensure_weight_tying=tied)
    model = peft.get_peft_model(base, config)
    train(model, causal_family)
    after = logits(model, causal_family)
    model.save_pretrained(tmp_path)

    loaded = peft.PeftModel.from_pretrained(make_model(causal_family, tie_word_embeddings=tied), tmp_path).eval()
    torch.testing.assert_close(logits(loaded, causal_family), after)
    merged = loaded.merge_and_unload()
    embeddings, head = merged.get_input_embeddings().weight, merged.get_output_embeddings().weight
    assert (embeddings is head) is tied
    torch.testing.assert_close(logits(merged, causal_family), after, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_frozen_model_under_an_adapter_has_gradients(
    peft, make_model, make_batch, family, train, checkpointing: bool
):
    """kbit training freezes everything and lets gradients in at the embeddings' output."""
    model = make_model(family)
    model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=checkpointing)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    model = peft.get_peft_model(model, peft.LoraConfig(r=4))
    model.train()
    model(**make_batch(family, [9, 5])).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    losses = train(model, family, learning_rate=3e-2)
    assert losses[-1] < losses[0]


def test_embeddings_of_a_frozen_model_require_gradients(make_model, family, make_batch):
    model = make_model(family).requires_grad_(False)
    model.enable_input_require_grads()
    batch = make_batch(family, [9, 5])
    assert model(**batch).loss.requires_grad
    model.disable_input_require_grads()
    assert not model(**batch).loss.requires_grad


def test_adapters_of_transformers_itself(peft, make_model, family, train, logits, tmp_path: Path):
    model = make_model(family)
    before = logits(model, family)
    model.add_adapter(peft.LoraConfig(r=4), adapter_name="ours")
    assert adapted(model) == LORA_TARGETS
    assert model.active_adapters() == ["ours"]
    train(model, family)
    after = logits(model, family)
    assert (after - before).abs().max() > 1e-3
    model.disable_adapters()
    assert torch.equal(logits(model, family), before)
    model.enable_adapters()
    model.save_pretrained(tmp_path)

    loaded = make_model(family)
    loaded.load_adapter(str(tmp_path))
    assert torch.equal(logits(loaded, family), after)


def test_an_adapter_folder_loads_through_the_auto_class(peft, make_model, logits, tmp_path: Path):
    """The adapter names its base; AutoModel fetches both."""
    make_model("decoder").save_pretrained(tmp_path / "base")
    model = peft.get_peft_model(TriptychDecoderForCausalLM.from_pretrained(tmp_path / "base"), peft.LoraConfig(r=4))
    randomise(model)
    model.save_pretrained(tmp_path / "adapter")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded.eval(), "decoder"), logits(model.eval(), "decoder"))


def test_generation_goes_through_the_adapter(peft, make_model, causal_family, words):
    ids = words(2, 6)
    plain = make_model(causal_family)
    model = peft.get_peft_model(make_model(causal_family), peft.LoraConfig(r=4))
    randomise(model)
    adapted_tokens = model.generate(input_ids=ids, max_new_tokens=6, do_sample=False)
    assert not torch.equal(adapted_tokens, plain.generate(input_ids=ids, max_new_tokens=6, do_sample=False))
    merged_tokens = model.merge_and_unload().generate(input_ids=ids, max_new_tokens=6, do_sample=False)
    assert torch.equal(adapted_tokens, merged_tokens)
