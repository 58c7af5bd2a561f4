"""Equivalent forms: models of ours that no architecture of transformers has as they are, and their native classes."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import GenerationConfig, PreTrainedModel

import tiny
import triptych
from triptych.conversion import CannotExpress, convert
from triptych.conversion import generation as generation_options
from triptych.conversion.equivalents import CHANNELS, FORMS, steps_towards
from triptych.conversion.weights import build

TRANSLATOR, LANGUAGE_MODEL, FILLER = (tiny.FAMILIES[name] for name in ("encoder_decoder", "decoder", "encoder"))
SEPARATE = {"decoder_vocab_size": 83, "share_encoder_decoder_embeddings": False}
HEADS = {"num_key_value_heads": 2, "head_dim": 4, "value_head_dim": 6}
# (class, fields that differ from the defaults, native class)
MODELS = [
    *((name, {}, None) for name in tiny.HEADS if name.startswith(("TriptychEncoder", "TriptychDecoder"))),
    (TRANSLATOR, {}, "MarianMTModel"),
    (TRANSLATOR, SEPARATE, "MarianMTModel"),
    (TRANSLATOR, {"share_encoder_decoder_embeddings": False}, "MarianMTModel"),
    (TRANSLATOR, {"tie_word_embeddings": False}, "MarianMTModel"),
    (TRANSLATOR, {"norm_bias": False, "feed_forward_bias": False, "attention_scale": 0.3}, "MarianMTModel"),
    (TRANSLATOR, {"embedding_scale": 3.0, "logit_scale": 0.5, **HEADS}, "MarianMTModel"),
    (TRANSLATOR, {"decoder_overrides": {"num_attention_heads": 2, "attention_bias": True}}, "MarianMTModel"),
    (TRANSLATOR, {"residual": "pre"}, "PegasusForConditionalGeneration"),
    ("TriptychModel", {}, "MarianModel"),
    (LANGUAGE_MODEL, {"positions": "sinusoidal", "embedding_scale": None, "norm_bias": False}, "GPT2LMHeadModel"),
    (LANGUAGE_MODEL, {"position_offset": 5, "num_key_value_heads": 1}, "GPT2LMHeadModel"),
    (LANGUAGE_MODEL, {"residual": "post", "attention_scale": 0.2}, "OPTForCausalLM"),
    (FILLER, {"positions": "sinusoidal", "attention_bias": False, "head_bias": False}, "BertForMaskedLM"),
    ("TriptychEncoderForNextSentencePrediction", {"type_vocab_size": 0}, "BertForNextSentencePrediction"),
]
# (class, the field, its value in the model, the value that it gets)
STEPS = [
    *((TRANSLATOR, name, False, True) for name in ("attention_bias", "attention_output_bias", "feed_forward_bias")),
    *((kind, name, False, True) for kind in (TRANSLATOR, FILLER) for name in ("head_bias", "norm_bias")),
    *(
        (kind, "sinusoid_layout", *layouts)
        for kind in (TRANSLATOR, FILLER)
        for layouts in (("interleaved", "concatenated"), ("concatenated", "interleaved"))
    ),
    ("TriptychForSequenceClassification", "sinusoid_layout", "interleaved", "concatenated"),
    (TRANSLATOR, "sinusoid_layout", "tensor2tensor", "concatenated"),
    *((kind, "positions", "sinusoidal", "learned") for kind in tiny.FAMILIES.values()),
    *((LANGUAGE_MODEL, "position_offset", *offsets) for offsets in ((0, 2), (3, 1))),
    *((kind, "tie_word_embeddings", True, False) for kind in tiny.FAMILIES.values()),
    (TRANSLATOR, "share_encoder_decoder_embeddings", True, False),
    (TRANSLATOR, "share_encoder_decoder_embeddings", False, True),
    *((kind, "embedding_scale", 1.5, None) for kind in (TRANSLATOR, LANGUAGE_MODEL)),
    (LANGUAGE_MODEL, "logit_scale", 0.7, 1.0),
    (TRANSLATOR, "attention_scale", None, 1.0),
    (TRANSLATOR, "num_key_value_heads", 2, 4),
    (TRANSLATOR, "head_dim", 5, 8),
    (LANGUAGE_MODEL, "value_head_dim", 3, 8),
    (FILLER, "type_vocab_size", 0, 2),
]


def inputs_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    ids = tiny.words(3, 9, vocab_size=80)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    ids[:, 4] = tiny.END  # which the heads of the encoder–decoder look for
    ids[0, 5:], batch["attention_mask"][0, 5:] = tiny.PAD, 0
    if "MultipleChoice" in type(model).__name__:
        batch = {name: value[:, None].repeat(1, 2, 1) for name, value in batch.items()}
    if model.config.is_encoder_decoder:
        batch["decoder_input_ids"] = tiny.words(3, 6, seed=1, vocab_size=80)
    return batch


@torch.no_grad()
def outputs_of(model: PreTrainedModel, reordered: bool = False) -> dict[str, torch.Tensor]:
    """What a user reads of a model; masked positions count for nothing."""
    batch = inputs_of(model)
    if not model.config.is_encoder_decoder or "Classification" not in type(model).__name__:
        output = model(**batch)
    else:
        output = model(**{name: value for name, value in batch.items() if not name.startswith("decoder_")})
    found = {}
    for name, value in output.items():
        if "logits" in name or (not reordered and name in ("last_hidden_state", "pooler_output")):
            is_masked = value.shape[:2] == batch["attention_mask"].shape
            kept = value[batch["attention_mask"].bool()] if is_masked else value
            found[name] = kept.double()
    return found


def assert_equal_outputs(ours: PreTrainedModel, theirs: PreTrainedModel) -> None:
    expected, actual = outputs_of(ours), outputs_of(theirs)
    assert expected
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "fields", "native"), MODELS)
def test_the_native_class_computes_the_same(kind: str, fields: dict[str, Any], native: str | None, tmp_path: Path):
    """Also after transformers has loaded what was saved, has saved it again, and has loaded that."""
    ours = tiny.make_model(kind, **fields).double()
    before = copy.deepcopy(ours.state_dict())
    theirs = triptych.to_hf(ours)
    assert native in (None, type(theirs).__name__)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
    for place in ("once", "twice"):
        theirs.save_pretrained(tmp_path / place)
        theirs, report = type(theirs).from_pretrained(tmp_path / place, output_loading_info=True)
        assert not any(report.values()), report
    assert_equal_outputs(ours, theirs.eval())
    if ours.can_generate():
        ids = tiny.words(2, 7, vocab_size=80)
        for beams in (1, 4):
            options = {"max_new_tokens": 12, "num_beams": beams, "do_sample": False}
            assert torch.equal(theirs.generate(ids, **options), ours.generate(ids, **options))


@pytest.mark.parametrize(("kind", "name", "value", "wanted"), STEPS)
def test_a_step_changes_no_output(kind: str, name: str, value: Any, wanted: Any):
    """Each form on its own: the rewritten model is one of ours, and computes the same."""
    layout = {"positions": "sinusoidal"} if name in ("positions", "sinusoid_layout") else {}
    ours = tiny.make_model(kind, **{**layout, name: value}).double()
    step = next(steps_towards(ours.config, {name: wanted}, keeps_channels=False))
    tensors = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    step.form.rewrite(tensors, step.before, step.after)
    changed = build(type(ours), copy.deepcopy(step.after), dict(tensors), torch.float64)
    assert changed.state_dict().keys() == tensors.keys()
    expected, actual = (outputs_of(model, reordered=not step.form.keeps_channels) for model in (ours, changed))
    assert expected
    for part, numbers in expected.items():
        torch.testing.assert_close(actual[part], numbers, atol=1e-6, rtol=1e-6)


def test_every_form_is_tried_alone():
    assert {name for _, name, *_ in STEPS} == FORMS.keys()


def test_channels_are_known_in_every_model():
    """No tensor of a model with sinusoids is forgotten, and each has one entry in the table."""
    for kind in (*tiny.HEADS, "TriptychModel", "TriptychEncoderModel", "TriptychDecoderModel"):
        for activation in ("none", "tanh"):
            model = tiny.make_model(kind, positions="sinusoidal", classifier_activation=activation)
            for name in model.state_dict():
                assert sum(bool(pattern.fullmatch(name)) for pattern, _ in CHANNELS) == 1, name


def test_it_says_what_it_did(caplog, monkeypatch):
    monkeypatch.setattr(convert.logger, "propagate", True)
    triptych.to_hf(tiny.make_model(TRANSLATOR))
    (said,) = (record.getMessage() for record in caplog.records if "in another form" in record.getMessage())
    assert said.startswith(f"{TRANSLATOR} becomes MarianMTModel, with equal outputs, in another form: ")
    assert "biases of zeros (attention_bias)" in said
    assert "channels in another order" in said
    caplog.clear()
    triptych.to_hf(tiny.make_model(LANGUAGE_MODEL))  # exactly GPT-2
    assert not caplog.records


def test_positions_that_transformers_would_forget_are_told(caplog, monkeypatch):
    monkeypatch.setattr(convert.logger, "propagate", True)
    theirs = triptych.to_hf(tiny.make_model(TRANSLATOR, positions="learned"))
    assert type(theirs) is transformers.MarianMTModel
    assert "leave them out if it loaded that directory and saved it again" in caplog.text


def test_a_body_keeps_the_order_of_its_channels():
    """Its hidden states are its output, so it gets a table of its sinusoids."""
    ours = tiny.make_model("TriptychModel")
    theirs = triptych.to_hf(ours)
    assert_equal_outputs(ours, theirs)
    assert theirs.encoder.embed_positions.weight.shape == (64, 32)


def test_what_has_no_form_is_named_and_nothing_else():
    with pytest.raises(CannotExpress) as error:
        triptych.to_hf(tiny.make_model(TRANSLATOR, norm="rms"), "marian")
    assert str(error.value) == "marian cannot express norm='rms' (there 'layer')"
    with pytest.raises(CannotExpress, match=r"bart cannot express embedding_norm=False \(there True\);"):
        triptych.to_hf(tiny.make_model("TriptychForQuestionAnswering"))


def test_one_factor_cannot_serve_heads_of_two_widths():
    heads = {"num_attention_heads": 2}
    model = tiny.make_model("encoder_decoder", attention_scale=0.3, decoder_overrides=heads)
    with pytest.raises(CannotExpress, match=r"marian cannot express .*attention_scale=0\.3"):
        triptych.to_hf(model)


def test_the_options_of_the_paper_become_the_nearest_ones(caplog, monkeypatch):
    monkeypatch.setattr(generation_options.logger, "propagate", True)
    ours = tiny.make_model(TRANSLATOR)
    ours.generation_config.gnmt_length_penalty, ours.generation_config.max_length_beyond_source = 0.6, 50
    theirs = triptych.to_hf(ours).generation_config
    assert (theirs.length_penalty, theirs.max_length) == (0.6, 64)
    assert "transformers has no gnmt_length_penalty=0.6, max_length_beyond_source=50" in caplog.text
    ours.generation_config.max_new_tokens = 9
    assert triptych.to_hf(ours).generation_config.max_length is None
    assert GenerationConfig(**theirs.to_dict()).max_length == 64
