"""Registration with transformers, and the way to disk and back with every tying."""

import json
import sys
from types import ModuleType

import pytest
import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForTextEncoding,
)

import triptych
from triptych.modeling.registration import register_models

HEADS = {
    "encoder_decoder": (AutoModelForSeq2SeqLM, triptych.TriptychForConditionalGeneration, triptych.TriptychModel),
    "encoder": (AutoModelForMaskedLM, triptych.TriptychEncoderForMaskedLM, triptych.TriptychEncoderModel),
    "decoder": (AutoModelForCausalLM, triptych.TriptychDecoderForCausalLM, triptych.TriptychDecoderModel),
}


def test_loading_says_nothing(make_model, tmp_path, family, capfd):
    make_model(family).save_pretrained(tmp_path)
    capfd.readouterr()
    HEADS[family][0].from_pretrained(tmp_path)
    printed = "".join(capfd.readouterr())
    assert not any(word in printed.lower() for word in ("warn", "missing", "unexpected", "newly", "deprecat")), printed


def test_auto_classes_from_config(make_config, family):
    auto_class, model_class, body_class = HEADS[family]
    assert type(auto_class.from_config(make_config(family))) is model_class
    assert type(AutoModel.from_config(make_config(family))) is body_class


def test_auto_config(make_config, family, tmp_path):
    config = make_config(family)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is type(config)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == config.model_type
    assert type(AutoConfig.for_model(config.model_type)) is type(config)


@pytest.mark.parametrize("fields", [{}, {"positions": "rotary"}, {"tie_word_embeddings": False}])
def test_body_of_a_saved_head(make_model, family, tmp_path, fields):
    model = make_model(family, **fields)
    model.save_pretrained(tmp_path)
    body, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(body) is HEADS[family][2]
    pooler = {
        key for key in body.state_dict() if key.startswith("pooler.")
    }  # new, as BERT's over a masked-LM checkpoint
    assert report["missing_keys"] == pooler
    kept = model.model.state_dict()
    assert body.state_dict().keys() == kept.keys() | pooler
    assert all(torch.equal(value, body.state_dict()[name]) for name, value in kept.items())


def test_encoder_as_text_encoder(make_model, tmp_path):
    make_model("encoder").save_pretrained(tmp_path)
    assert type(AutoModelForTextEncoding.from_pretrained(tmp_path)) is triptych.TriptychEncoderModel


def test_registration_may_be_repeated(make_config):
    triptych.register()
    assert type(AutoModel.from_config(make_config("decoder"))) is triptych.TriptychDecoderModel


def test_transformers_has_the_models_under_their_names(monkeypatch):
    """Also where it has made a second module of itself, and somebody has kept the first one."""
    first, user = ModuleType("transformers"), ModuleType("user")
    user.transformers = first
    monkeypatch.setitem(sys.modules, "user", user)
    register_models()
    names = [name for name in triptych.modeling.__all__ if name != "TriptychPreTrainedModel"]
    for library in (first, transformers):
        assert [getattr(library, name, None) for name in names] == [getattr(triptych, name) for name in names]


def test_other_precision(make_model, family, tmp_path, make_batch):
    make_model(family).save_pretrained(tmp_path)
    model = HEADS[family][0].from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    output = model(**make_batch(family, [4, 6]))
    assert output.logits.dtype == torch.bfloat16
    assert output.loss.dtype == torch.float32
    assert output.loss.isfinite()
