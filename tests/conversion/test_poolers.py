"""What a body has and what a head has before its map to labels, as in transformers' own classes, through the disk."""

import itertools

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModel

import triptych
from triptych import modeling
from triptych.conversion import CannotExpress, known_architectures
from triptych.conversion.directories import convert_directory
from triptych.conversion.rules import Places

FIELDS = {
    "vocab_size": 53,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
    "num_labels": 2,
    "pad_token_id": 1,
}
DISTILBERT = {"vocab_size": 53, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24, "num_labels": 2}
SAVING = {"_name_or_path", "architectures", "dtype"}  # what saving and loading write into a configuration
CONFIGS = {
    "bert": transformers.BertConfig(**FIELDS),
    "roberta": transformers.RobertaConfig(**FIELDS),
    "xlm-roberta": transformers.XLMRobertaConfig(**FIELDS),
    "camembert": transformers.CamembertConfig(**FIELDS),
    "electra": transformers.ElectraConfig(**FIELDS, embedding_size=16),
    "distilbert": transformers.DistilBertConfig(**DISTILBERT),
}
OPTIONAL = ("BertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel")
NONE_EVER = ("ElectraModel", "DistilBertModel")
IDS = torch.randint(5, 53, (2, 7), generator=torch.Generator().manual_seed(0))


def table(model_type):
    (known,) = known_architectures(triptych.TriptychEncoderConfig, model_type)
    return known


HEADS = {name: known for known in map(table, ("bert", "roberta", "distilbert", "electra")) for name in known.heads}


def make(name, **options):
    torch.manual_seed(0)
    theirs = getattr(transformers, name)
    return theirs(CONFIGS[theirs.config_class.model_type], **options).eval()


def loaded(model_class, directory, **options):
    """A model that has every weight from the directory, and takes every weight of it."""
    model, report = model_class.from_pretrained(directory, **options, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return model.eval()


def assert_same(one, other):
    with torch.no_grad():
        first, second = one(IDS), other(IDS)
    torch.testing.assert_close(first.last_hidden_state, second.last_hidden_state, atol=1e-5, rtol=1e-5)
    assert first.get("pooler_output") is None
    assert second.get("pooler_output") is None


def without_pooler(name, source):
    if source == "made without":
        return make(name, **({"add_pooling_layer": False} if name in OPTIONAL else {}))
    return make(name.replace("Model", "ForMaskedLM")).base_model


@pytest.mark.parametrize("source", ["made without", "taken from a head"])
@pytest.mark.parametrize("name", [*OPTIONAL, *NONE_EVER])
def test_bodies_without_a_pooler_go_there_and_back(name, source, tmp_path):
    theirs = without_pooler(name, source)
    ours = triptych.from_hf(theirs)
    assert ours.config.pooler == "none"
    assert_same(ours, theirs)
    ours.save_pretrained(tmp_path / "ours")
    again = loaded(AutoModel, tmp_path / "ours")
    assert type(again) is triptych.TriptychEncoderModel
    assert_same(again, theirs)

    options = {"add_pooling_layer": False} if name in OPTIONAL else {}
    triptych.to_hf(again).save_pretrained(tmp_path / "back")
    back = loaded(getattr(transformers, name), tmp_path / "back", **options)
    assert back.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in back.state_dict().items())
    fields = theirs.config.to_dict()
    assert {name for name, value in back.config.to_dict().items() if value != fields[name]} <= SAVING

    read = triptych.from_hf(tmp_path / "back")  # where nothing but the weights says that there is no pooler
    assert read.state_dict().keys() == ours.state_dict().keys()
    assert read.config.pooler == "none"
    convert_directory(tmp_path / "back", tmp_path / "converted")
    assert_same(loaded(AutoModel, tmp_path / "converted"), theirs)


@pytest.mark.parametrize("name", OPTIONAL)
def test_bodies_with_a_pooler_keep_it(name, tmp_path):
    theirs = make(name)
    triptych.from_hf(theirs).save_pretrained(tmp_path / "ours")
    ours = loaded(AutoModel, tmp_path / "ours")
    triptych.to_hf(ours).save_pretrained(tmp_path / "back")
    back = loaded(getattr(transformers, name), tmp_path / "back")
    with torch.no_grad():
        expected = theirs(IDS).pooler_output
        for model in (ours, back):
            torch.testing.assert_close(model(IDS).pooler_output, expected, atol=1e-5, rtol=1e-5)


def test_a_body_that_lacks_more_than_its_pooler_is_refused(tmp_path):
    make("BertModel", add_pooling_layer=False).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights of BertModel: encoder\.layer\.0\.output\.dense\.weight"):
        triptych.from_hf(tmp_path)


@pytest.mark.parametrize("name", ["Bert", "DistilBert", "Electra", "Roberta"])
def test_the_body_of_a_head_over_tokens_becomes_one_of_theirs(name):
    """It was built without the pooler that its configuration names, or that configuration has none."""
    ours = triptych.from_hf(make(f"{name}ForMaskedLM"))
    back = triptych.to_hf(ours.model)
    assert type(back).__name__ == f"{name}Model"
    assert_same(back, ours.model)


def test_a_body_built_without_the_pooler_of_its_configuration_becomes_distilberts():
    config = triptych.TriptychEncoderConfig(**{**FIELDS, "type_vocab_size": 0})
    torch.manual_seed(0)
    ours = triptych.TriptychEncoderModel(config, add_pooling_layer=False).eval()
    assert_same(triptych.to_hf(ours, "distilbert"), ours)
    with pytest.raises(CannotExpress, match="pooler='tanh'"):
        triptych.to_hf(triptych.TriptychEncoderModel(config), "distilbert")


def test_heads_over_a_body_that_has_no_pooler(tmp_path):
    """Where the head reads none, BERT has such a head; where it reads one, BERT cannot be without."""
    triptych.from_hf(make("BertForMaskedLM").bert).save_pretrained(tmp_path)
    for name in ("ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering"):
        ours = getattr(triptych, f"TriptychEncoder{name}").from_pretrained(tmp_path)
        theirs = triptych.to_hf(ours)
        assert type(theirs).__name__ == f"Bert{name}"
    for name in ("ForSequenceClassification", "ForMultipleChoice", "ForNextSentencePrediction", "ForPreTraining"):
        ours = getattr(triptych, f"TriptychEncoder{name}").from_pretrained(tmp_path)
        with pytest.raises(CannotExpress, match=r"pooler='none' \(there 'tanh'\)"):
            triptych.to_hf(ours)


@pytest.mark.parametrize(
    ("name", "model_type", "activation"),
    [
        ("TriptychForSequenceClassification", "bart", "none"),
        ("TriptychEncoderForSequenceClassification", "bert", "tanh"),
        ("TriptychEncoderForSequenceClassification", "roberta", "gelu"),
        ("TriptychDecoderForSequenceClassification", "gpt2", "tanh"),
    ],
)
def test_a_dense_layer_before_the_map_to_labels_is_theirs_or_refused(name, model_type, activation):
    head = getattr(triptych, name)
    preset = {"bart": "tiny", "gpt2": "tiny-decoder"}.get(model_type, "tiny-encoder")
    config = head.config_class.from_preset(preset, classifier_activation=activation)
    with pytest.raises(CannotExpress, match=f"classifier_activation='{activation}' "):
        triptych.to_hf(head(config), model_type)


def test_a_head_that_reads_neither_field_may_have_both_as_it_likes():
    config = triptych.TriptychDecoderConfig.from_preset(
        "tiny-decoder", activation="gelu_new", classifier_activation="relu"
    )
    assert type(triptych.to_hf(triptych.TriptychDecoderForCausalLM(config), "gpt2")).__name__ == "GPT2LMHeadModel"


@pytest.mark.parametrize("name", HEADS)
def test_the_body_of_every_converted_head_is_as_large_as_theirs(name, tmp_path):
    """What AutoModel makes new is what transformers' own body has and the head's checkpoint has not."""
    theirs, known = make(name), HEADS[name]
    triptych.from_hf(theirs).save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    ours, report = AutoModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    expected, native = AutoModel.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert ours.num_parameters() == expected.num_parameters()
    assert set(report["missing_keys"]) == in_our_words(native["missing_keys"], known, expected, ours)
    assert type(triptych.to_hf(ours)) is type(expected)


def in_our_words(missing, known, theirs, ours):
    places = Places(known.rules, theirs.state_dict(), ours.state_dict(), theirs.base_model_prefix).found
    return {name for key in missing for name in places[key][1]}


# One module holds the whole head of a classification here, as in all architectures but this one.
UNLIKE = {"DistilBertForSequenceClassification", "DistilBertForTokenClassification"}
PAIRS = [
    pair
    for known in dict.fromkeys(known.model_type for known in HEADS.values())
    for pair in itertools.permutations(table(known).heads, 2)
    if not pair[1].endswith("Model")  # which the test above asks for
]


@pytest.mark.slow
@pytest.mark.parametrize(("saved", "asked"), PAIRS)
def test_a_head_reads_the_checkpoint_of_another_as_theirs_does(saved, asked, tmp_path):
    known = HEADS[saved]
    theirs = make(saved)
    triptych.from_hf(theirs).save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    their_class, our_class = getattr(transformers, asked), getattr(modeling, known.heads[asked])
    try:
        expected, native = their_class.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    except RuntimeError:  # there, a map to labels and a map to one score have one name
        assert "ForMultipleChoice" in saved + asked
        return
    ours, report = our_class.from_pretrained(tmp_path / "ours", output_loading_info=True)
    allowed = in_our_words(native["missing_keys"], known, expected, ours)
    if {saved, asked} == UNLIKE:
        assert allowed < set(report["missing_keys"]) <= {key for key in ours.state_dict() if "classifier" in key}
    else:
        assert set(report["missing_keys"]) == allowed
