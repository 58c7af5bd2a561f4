"""Registration with transformers, and the way to disk and back with every tying."""

import json

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForTextEncoding,
)

import triptych

HEADS = {
    "encoder_decoder": (AutoModelForSeq2SeqLM, triptych.TriptychForConditionalGeneration, triptych.TriptychModel),
    "encoder": (AutoModelForMaskedLM, triptych.TriptychEncoderForMaskedLM, triptych.TriptychEncoderModel),
    "decoder": (AutoModelForCausalLM, triptych.TriptychDecoderForCausalLM, triptych.TriptychDecoderModel),
}
TYINGS = {
    "three-way": {},
    "shared inputs, head of its own": {"tie_word_embeddings": False},
    "target tied to the head": {"share_encoder_decoder_embeddings": False},
    "nothing tied": {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False},
    "two vocabularies, target tied": {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 53},
    "two vocabularies, nothing tied": {
        "share_encoder_decoder_embeddings": False,
        "decoder_vocab_size": 53,
        "tie_word_embeddings": False,
    },
}
CASES = [
    *(("encoder_decoder", fields) for fields in TYINGS.values()),
    ("encoder_decoder", {"head_bias": True, "positions": "relative", "norm": "rms", "residual": "pre"}),
    ("encoder_decoder", {"positions": "rotary", "feed_forward": "gated", "residual": "parallel"}),
    ("encoder", {}),
    ("encoder", {"tie_word_embeddings": False, "positions": "rotary"}),
    ("decoder", {}),
    ("decoder", {"tie_word_embeddings": False, "positions": "relative"}),
]
IDS = [f"{family}-{'-'.join(map(str, fields.values()))}" for family, fields in CASES]


def assert_same_model(loaded, report, model):
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[kind], f"{kind}: {report[kind]}"
    told, kept = loaded.config.to_dict(), model.config.to_dict()
    assert told == {**kept, "_name_or_path": told["_name_or_path"]}
    expected, found = model.state_dict(), loaded.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def sharing(model):
    """Which names of parameters are one object."""
    owners = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    return sorted(names for names in owners.values() if len(names) > 1)


@pytest.mark.parametrize(("family", "fields"), CASES, ids=IDS)
@pytest.mark.parametrize("max_shard_size", ["5GB", "20KB"])
def test_round_trip_is_bit_equal(make_model, tmp_path, family, fields, max_shard_size):
    model = make_model(family, **fields)
    model.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    files = {path.name for path in tmp_path.iterdir()}
    assert ("model.safetensors" in files) == (max_shard_size == "5GB")
    assert not any(name.endswith(".bin") for name in files)
    auto_class, model_class, _ = HEADS[family]
    for cls in (auto_class, model_class):
        loaded, report = cls.from_pretrained(tmp_path, output_loading_info=True)
        assert type(loaded) is model_class
        assert_same_model(loaded, report, model)
        assert sharing(loaded) == sharing(model)
    loaded.save_pretrained(tmp_path / "again")
    for name in files & {"config.json", "model.safetensors"}:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.parametrize(("name", "fields"), TYINGS.items(), ids=TYINGS)
def test_what_is_tied_is_one_parameter(make_model, name, fields):
    model = make_model("encoder_decoder", **fields)
    source, target, head = "model.embed_tokens.weight", "model.decoder_embed_tokens.weight", "lm_head.weight"
    expected = {
        "three-way": [[source, head]],
        "target tied to the head": [[target, head]],
        "two vocabularies, target tied": [[target, head]],
    }
    assert [sorted(names) for names in sharing(model)] == [sorted(names) for names in expected.get(name, [])]
    assert (target in model.state_dict()) == ("share_encoder_decoder_embeddings" in fields)


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
    assert not report["missing_keys"]
    assert all(torch.equal(value, model.model.state_dict()[name]) for name, value in body.state_dict().items())


def test_encoder_as_text_encoder(make_model, tmp_path):
    make_model("encoder").save_pretrained(tmp_path)
    assert type(AutoModelForTextEncoding.from_pretrained(tmp_path)) is triptych.TriptychEncoderModel


def test_registration_may_be_repeated(make_config):
    triptych.register()
    assert type(AutoModel.from_config(make_config("decoder"))) is triptych.TriptychDecoderModel


def test_other_precision(make_model, family, tmp_path, make_batch):
    make_model(family).save_pretrained(tmp_path)
    model = HEADS[family][0].from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    output = model(**make_batch(family, [4, 6]))
    assert output.logits.dtype == torch.bfloat16
    assert output.loss.dtype == torch.float32
    assert output.loss.isfinite()


@pytest.mark.parametrize("new_size", [120, 60])
@pytest.mark.parametrize("name", list(TYINGS)[:4])  # two vocabularies are not resized by one number
def test_resized_vocabulary_still_works_and_saves(make_model, tmp_path, name, new_size):
    """Where source and target share their vocabulary, it changes on both sides."""
    model = make_model("encoder_decoder", **TYINGS[name])
    kept = model.get_input_embeddings().weight[:60].clone()
    model.resize_token_embeddings(new_size, mean_resizing=False)
    assert torch.equal(model.get_input_embeddings().weight[:60], kept)
    labels = torch.tensor([[7, new_size - 1, 3]])
    output = model(input_ids=torch.tensor([[new_size - 1, 5]]), labels=labels)
    assert output.logits.shape[-1] == new_size
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, output_loading_info=True)
    assert_same_model(loaded, report, model)
