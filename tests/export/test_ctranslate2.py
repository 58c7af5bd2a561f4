"""The format ct2: CTranslate2 itself computes what our models compute."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import tiny
from triptych.export import export

pytestmark = pytest.mark.integrations("ctranslate2")

TRANSLATOR, LANGUAGE_MODEL, BODY = "encoder_decoder", "decoder", "TriptychEncoderModel"
BIASES = {"attention_bias": True, "attention_output_bias": True}
NO_BIASES = {**dict.fromkeys(BIASES, False), "feed_forward_bias": False}
LEARNED = {**BIASES, "positions": "learned", "position_offset": 2, "embedding_norm": True, "head_bias": True}
ROTARY = {"positions": "rotary", "norm": "rms", "feed_forward": "gated", "activation": "silu", **NO_BIASES}
TRANSLATORS = [
    ("marian", {}),
    ("marian", {"decoder_vocab_size": 97, "share_encoder_decoder_embeddings": False, "head_bias": True}),
    ("marian", {"embedding_scale": 1.0, "activation": "gelu_new", "decoder_start_token_id": 0}),
    ("pegasus", {"residual": "pre"}),
    ("bart", LEARNED),
    ("mbart", {**LEARNED, "residual": "pre"}),
]
DECODERS = [
    ("gpt2", {"norm_eps": 1e-3}),
    ("gpt2", {"positions": "sinusoidal", "embedding_scale": None, "tie_word_embeddings": False}),
    ("opt", {"residual": "post"}),
    ("llama", ROTARY),
    ("llama", {**ROTARY, "num_key_value_heads": 2, "norm_eps": 1e-3}),
    ("qwen2", {**ROTARY, "attention_bias": True}),
]
ENCODERS = [
    ("bert", {}),
    ("bert", {"positions": "sinusoidal"}),
    ("distilbert", {"type_vocab_size": 0, "pooler": "none"}),
]


def names(ids: Any) -> list[str]:
    return AutoTokenizer.from_pretrained("exported").convert_ids_to_tokens([int(number) for number in ids])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("model_type", "fields"), TRANSLATORS)
def test_translators(saved, library, model_type: str, fields: dict[str, Any]):
    """The probability of every token of a target, and the tokens of greedy and of beam search."""
    ct2 = library("ctranslate2")
    tokenizers = 2 if "decoder_vocab_size" in fields else 1
    model, directory = saved(TRANSLATOR, tokenizers, **fields)
    export(directory, "exported", "ct2", model_type)
    translator = ct2.Translator("exported", inter_threads=1, intra_threads=1)
    sources, targets = [tiny.words(n, seed=n) for n in (9, 4)], [tiny.words(n, seed=n) for n in (6, 7)]
    for source, target in zip(sources, targets, strict=True):
        (scored,) = translator.score_batch([names(source)], [names(target)])
        start = torch.tensor([model.config.decoder_start_token_id])
        given, wanted = torch.cat([start, target])[None], torch.cat([target, torch.tensor([tiny.END])])
        with torch.no_grad():
            likely = model(input_ids=source[None], decoder_input_ids=given).logits[0].log_softmax(-1)
        expected = likely[torch.arange(len(wanted)), wanted]
        np.testing.assert_allclose(scored.log_probs, expected.numpy(), atol=2e-4)
        for beams in (1, 4):
            options = {"num_beams": beams, "max_new_tokens": 10, "do_sample": False}
            ids = model.generate(source[None], **options)[0, 1:].tolist()
            found = translator.translate_batch([names(source)], beam_size=beams, max_decoding_length=10)
            assert found[0].hypotheses[0] == names(number for number in ids if number not in (tiny.END, tiny.PAD))


@pytest.mark.parametrize(("model_type", "fields"), DECODERS)
def test_decoders(saved, library, model_type: str, fields: dict[str, Any]):
    """The logits of every position, and the tokens of greedy search."""
    ct2 = library("ctranslate2")
    model, directory = saved(LANGUAGE_MODEL, **fields)
    export(directory, "exported", "ct2", model_type)
    generator = ct2.Generator("exported", inter_threads=1, intra_threads=1)
    ids = tiny.words(9)
    logits = np.array(generator.forward_batch([names(ids)]))
    with torch.no_grad():
        np.testing.assert_allclose(logits, model(ids[None]).logits.numpy(), atol=2e-4)
    expected = model.generate(ids[None], max_new_tokens=10, do_sample=False)[0, 9:].tolist()
    found = generator.generate_batch([names(ids)], max_length=10, include_prompt_in_result=False)
    assert found[0].sequences[0] == names(number for number in expected if number != tiny.END)


@pytest.mark.parametrize(("model_type", "fields"), ENCODERS)
def test_encoders(saved, library, model_type: str, fields: dict[str, Any]):
    ct2 = library("ctranslate2")
    model, directory = saved(BODY, **fields)
    export(directory, "exported", "ct2", model_type)
    encoder = ct2.Encoder("exported", inter_threads=1, intra_threads=1)
    ids = tiny.words(9)
    hidden = np.array(encoder.forward_batch([names(ids)]).last_hidden_state)
    with torch.no_grad():
        np.testing.assert_allclose(hidden, model(ids[None]).last_hidden_state.numpy(), atol=2e-4)


def test_int8(saved, library):
    ct2 = library("ctranslate2")
    _, directory = saved(TRANSLATOR, hidden_size=64, intermediate_size=256)
    export(directory, "exact", "ct2")
    export(directory, "exported", "ct2", quantization="int8")
    sizes = [Path(name, "model.bin").stat().st_size for name in ("exact", "exported")]
    assert sizes[1] < sizes[0] / 2
    assert ct2.Translator("exported").translate_batch([names(tiny.words(5))], max_decoding_length=5)


@pytest.mark.parametrize(
    ("kind", "tokenizers", "fields", "model_type", "said"),
    [
        ("TriptychEncoderForMaskedLM", 1, {}, None, "CTranslate2 has no counterpart of TriptychEncoderForMaskedLM"),
        (
            TRANSLATOR,
            1,
            {"decoder_overrides": {"num_attention_heads": 2}},
            None,
            "the encoder has 4 and the decoder 2",
        ),
        (TRANSLATOR, 0, {}, None, r"it needs 1 tokenizer\(s\), and beside the model there are 0"),
        (LANGUAGE_MODEL, 1, {"vocab_size": 90}, None, "the token '96' has the id 96, but the model has 90 tokens"),
        (LANGUAGE_MODEL, 1, {"positions": "rotary", "residual": "parallel"}, "falcon", "is not fed from falcon"),
        (BODY, 1, {"pooler": "none"}, "bert", "CTranslate2's BERT has a pooler"),
        (TRANSLATOR, 1, {"norm": "rms"}, None, "marian cannot express norm='rms'"),
    ],
)
def test_what_it_cannot_express_is_refused_before_anything_is_written(
    saved, kind, tokenizers, fields, model_type, said
):
    _, directory = saved(kind, tokenizers, **fields)
    with pytest.raises(ValueError, match=said):
        export(directory, "exported", "ct2", model_type)
    assert not Path("exported").exists()
