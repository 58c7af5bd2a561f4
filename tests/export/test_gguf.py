"""The format gguf: transformers reads the file, and its class computes what our model computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

import tiny
from triptych.export import export
from triptych.tokenization import train_tokenizer

pytestmark = pytest.mark.integrations("gguf")
NO_BIASES = dict.fromkeys(("attention_bias", "attention_output_bias", "feed_forward_bias"), False)
ROTARY = {"positions": "rotary", "norm": "rms", "feed_forward": "gated", "activation": "silu", **NO_BIASES}
LENGTH = {"max_position_embeddings": 1024}  # transformers reads no other one from the file of a GPT-2
THETA = {"rope_theta": 7e3}
MODELS = [
    ("gpt2", {**LENGTH, "intermediate_size": 128}),
    ("gpt2", {**LENGTH, "intermediate_size": 128, "positions": "sinusoidal", "tie_word_embeddings": False}),
    ("llama", ROTARY),
    (
        "llama",
        {**ROTARY, "num_key_value_heads": 2, "tie_word_embeddings": False, "rope_parameters": {"rope_theta": 7e3}},
    ),
    ("qwen2", {**ROTARY, "attention_bias": True, "num_key_value_heads": 1}),
]
BIASES = {"attention_bias": True, "attention_output_bias": True}
TEXTS = ["The window is open.", "the light's on,  and 12 doors are closed…", "<s>one</s>"]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PreTrainedModel]:
    """A decoder that is saved with a byte-level tokenizer."""
    monkeypatch.chdir(tmp_path)

    def write(model: str = "bpe", **fields: Any) -> PreTrainedModel:
        tokenizer = train_tokenizer(TEXTS * 3, model, 300, family="decoder")
        decoder = tiny.make_model("decoder", vocab_size=len(tokenizer) + 3, **fields)
        decoder.save_pretrained("model", code=False)
        tokenizer.save_pretrained("model")
        return decoder

    return write


@pytest.mark.parametrize(("model_type", "fields"), MODELS)
def test_transformers_reads_the_file(written, model_type: str, fields: dict[str, Any]):
    ours = written(**fields)
    export("model", "exported", "gguf", model_type)
    assert {path.name for path in Path("exported").glob("[!.]*")} == {"model.gguf"}
    theirs = AutoModelForCausalLM.from_pretrained("exported", gguf_file="model.gguf").eval()
    assert theirs.config.model_type == model_type
    ids = tiny.words(2, 9)
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids).logits, atol=1e-5, rtol=1e-5)
    expected = ours.generate(ids, max_new_tokens=8, do_sample=False)
    assert torch.equal(theirs.generate(ids, max_new_tokens=8, do_sample=False), expected)
    mine = AutoTokenizer.from_pretrained("model")
    read = AutoTokenizer.from_pretrained("exported", gguf_file="model.gguf")
    for text in TEXTS:
        ids = mine(text, add_special_tokens=False).input_ids
        assert read(text, add_special_tokens=False).input_ids == ids
        assert read.decode(ids) == mine.decode(ids)
    assert (read.bos_token, read.eos_token, read.pad_token) == (mine.bos_token, mine.eos_token, mine.pad_token)


@pytest.mark.parametrize(("quantization", "most"), [("float16", 2e-2), ("q8_0", 0.5)])
def test_fewer_bits(written, quantization: str, most: float):
    ours = written(**LENGTH, intermediate_size=128)
    export("model", "exact", "gguf")
    export("model", "exported", "gguf", quantization=quantization)
    sizes = [Path(name, "model.gguf").stat().st_size for name in ("exact", "exported")]
    assert sizes[1] < 0.7 * sizes[0]
    theirs = AutoModelForCausalLM.from_pretrained("exported", gguf_file="model.gguf", dtype=torch.float32).eval()
    ids = tiny.words(2, 9)
    with torch.no_grad():
        assert 0 < (theirs(ids).logits - ours(ids).logits).abs().max() < most


@pytest.mark.parametrize(
    ("tokenizer", "fields", "model_type", "said"),
    [
        ("word", {}, None, "holds tokenizers of byte-level BPE .*; this one is WordLevel"),
        ("bpe", {"activation": "relu"}, "gpt2", "llama.cpp's gpt2 has activation='gelu_new', and this model"),
        ("bpe", {"residual": "post"}, None, "the format gguf is not fed from opt"),
        (
            "bpe",
            {**ROTARY, "attention_bias": True, "attention_output_bias": True},
            "llama",
            "has attention_bias=False",
        ),
        ("bpe", {**ROTARY, "rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "llama", "rope_type='linear'"),
    ],
)
def test_what_it_cannot_express_is_refused_before_it_writes(written, tokenizer, fields, model_type, said):
    written(tokenizer, **fields)
    with pytest.raises(ValueError, match=said):
        export("model", "exported", "gguf", model_type)
    assert not Path("exported").exists()


def test_only_language_models(saved):
    _, directory = saved("encoder_decoder")
    with pytest.raises(ValueError, match="GGUF holds language models here, TriptychDecoderForCausalLM"):
        export(directory, "exported", "gguf")
