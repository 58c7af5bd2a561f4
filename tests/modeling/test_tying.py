"""Which matrices are one: on the way to disk and back, resized, replaced and untied."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

import triptych

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
AUTO_CLASSES = {
    "encoder_decoder": AutoModelForSeq2SeqLM,
    "encoder": AutoModelForMaskedLM,
    "decoder": AutoModelForCausalLM,
}
FROM_ONE_VOCABULARY = list(TYINGS)[:4]
FROM_TWO = list(TYINGS)[4:]


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
    model_class = type(model)
    for cls in (AUTO_CLASSES[family], model_class):
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


def run(model, token):
    """Logits of a model that reads, and (where it has labels) writes, the given token."""
    ids = torch.tensor([[token, 5, 7]])
    inputs = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        inputs["labels"] = ids
    return model(**inputs).logits


@pytest.mark.parametrize("new_size", [120, 60])
@pytest.mark.parametrize("name", FROM_ONE_VOCABULARY)
def test_resized_vocabulary_still_works_and_saves(make_model, tmp_path, name, new_size):
    """Where source and target share their vocabulary, it changes on both sides."""
    model = make_model("encoder_decoder", **TYINGS[name])
    tied, kept = sharing(model), model.get_input_embeddings().weight[:60].clone()
    model.resize_token_embeddings(new_size, mean_resizing=False)
    assert torch.equal(model.get_input_embeddings().weight[:60], kept)
    assert sharing(model) == tied
    assert run(model, new_size - 1).shape[-1] == new_size
    assert model.config.vocab_size == model.config.target_vocab_size == new_size
    model.save_pretrained(tmp_path)
    assert_same_model(*type(model).from_pretrained(tmp_path, output_loading_info=True), model)


@pytest.mark.parametrize("family", ["encoder", "decoder"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("new_size", [120, 60])
def test_resized_vocabulary_of_one_stack(make_model, family, tmp_path, tied, new_size):
    model = make_model(family, tie_word_embeddings=tied, head_bias=True)
    bias = model.lm_head.bias[:60].clone()
    model.resize_token_embeddings(new_size)
    assert run(model, new_size - 1).shape[-1] == new_size
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied
    assert torch.equal(model.lm_head.bias[:60], bias)
    model.save_pretrained(tmp_path)
    assert_same_model(*type(model).from_pretrained(tmp_path, output_loading_info=True), model)


@pytest.mark.parametrize("name", FROM_TWO)
def test_each_of_two_vocabularies_is_resized_alone(make_model, tmp_path, name):
    model = make_model("encoder_decoder", **TYINGS[name], head_bias=True)
    tied, ids, labels = sharing(model), torch.tensor([[90, 5]]), torch.tensor([[50, 3]])
    before = model(input_ids=ids, labels=labels).logits
    model.resize_token_embeddings(120)
    torch.testing.assert_close(model(input_ids=ids, labels=labels).logits, before)
    assert model(input_ids=torch.tensor([[119]]), labels=labels).logits.shape[-1] == 53
    model.resize_decoder_token_embeddings(64)
    assert model(input_ids=torch.tensor([[119]]), labels=torch.tensor([[63]])).logits.shape[-1] == 64
    torch.testing.assert_close(model(input_ids=ids, labels=labels).logits[..., :53], before)
    assert (model.config.vocab_size, model.config.decoder_vocab_size) == (120, 64)
    assert sharing(model) == tied
    model.save_pretrained(tmp_path)
    assert_same_model(*type(model).from_pretrained(tmp_path, output_loading_info=True), model)


def test_a_common_vocabulary_has_no_target_side_of_its_own(make_model):
    with pytest.raises(ValueError, match=r"one vocabulary.*use resize_token_embeddings"):
        make_model("encoder_decoder").resize_decoder_token_embeddings(120)


def test_a_common_size_that_was_given_twice(make_model):
    model = make_model("encoder_decoder", decoder_vocab_size=97)
    model.resize_token_embeddings(120)
    model.config.validate()
    assert model.config.target_vocab_size == 120


def test_padding_to_a_multiple(make_model, family):
    model = make_model(family)
    model.resize_token_embeddings(pad_to_multiple_of=64)
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == 128


@pytest.mark.parametrize("name", TYINGS)
def test_frozen_matrices_stay_frozen(make_model, name):
    model = make_model("encoder_decoder", **TYINGS[name]).requires_grad_(False)
    model.resize_token_embeddings(120)
    if model.config.decoder_vocab_size is not None:
        model.resize_decoder_token_embeddings(64)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_bodies_are_resized_too(make_model, family):
    body = make_model(family).model
    body.resize_token_embeddings(120)
    ids = torch.tensor([[119, 5]])
    extra = {"decoder_input_ids": ids} if family == "encoder_decoder" else {}
    assert body(ids, **extra).last_hidden_state.isfinite().all()


def test_the_matrix_can_be_replaced(make_model, family):
    """By the setter; what is tied follows when it is told to."""
    model = make_model(family)
    new = nn.Embedding(97, model.config.hidden_size)
    model.set_input_embeddings(new)
    assert model.get_input_embeddings() is new
    model.tie_weights()
    assert model.get_output_embeddings().weight is new.weight


def test_untied_for_good(make_model, family, tmp_path):
    """A tied model gets an output map of its own, which is trained, saved and loaded apart."""
    model = make_model(family)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone() * 2)
    model.tie_weights()
    assert sharing(model) == []
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert sharing(loaded) == []
    assert torch.equal(loaded.lm_head.weight, 2 * loaded.get_input_embeddings().weight)


def test_one_module_owns_the_common_matrix(make_model):
    """FSDP2 and disk offload see it once: stacks have no embedding of their own."""
    model = make_model("encoder_decoder")
    tables = [name for name, module in model.named_modules() if isinstance(module, nn.Embedding)]
    assert tables == ["model.embed_tokens"]
    assert not any("embed_tokens" in name for name, _ in model.model.encoder.named_parameters())


@pytest.mark.parametrize("name", ["TriptychForSequenceClassification", "TriptychForQuestionAnswering"])
def test_heads_that_read_twice_are_resized(name):
    model = getattr(triptych, name)(triptych.TriptychConfig.from_preset("tiny")).eval()
    model.resize_token_embeddings(120)
    assert model(input_ids=torch.tensor([[119, 5, 3]])).encoder_last_hidden_state.isfinite().all()
