"""What public encoders have that ours lack is named, and encoders of ours become public ones where they can."""

import inspect

import pytest
import torch
import transformers
from transformers import DistilBertConfig, DistilBertModel, RobertaConfig, RobertaForMaskedLM

import triptych
from triptych.conversion import CannotExpress
from triptych.modeling import TriptychEncoderForMaskedLM, TriptychEncoderModel

TINY = {
    "vocab_size": 53,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}


@pytest.mark.parametrize(
    ("name", "fields", "named"),
    [
        ("RobertaModel", {"is_decoder": True}, "is_decoder"),
        ("CamembertForMaskedLM", {"hidden_act": "relu"}, "hidden_act"),
        ("RobertaModel", {"pad_token_id": None}, "pad_token_id"),
        ("ElectraModel", {"embedding_size": 8}, "embeddings_project"),
        ("ElectraForMaskedLM", {"embedding_size": 16, "hidden_act": "relu"}, "hidden_act"),
        ("ElectraForMultipleChoice", {"embedding_size": 16, "summary_type": "mean"}, "summary_type"),
        ("ElectraForMultipleChoice", {"embedding_size": 16, "summary_use_proj": False}, "summary_use_proj"),
        ("ElectraForPreTraining", {"embedding_size": 16}, "ElectraForPreTraining has no counterpart"),
    ],
)
def test_what_ours_lack_is_named(name, fields, named):
    theirs_class = getattr(transformers, name)
    theirs = theirs_class(theirs_class.config_class(**{**TINY, **fields}))
    with pytest.raises(CannotExpress, match=named):
        triptych.from_hf(theirs)


def test_a_summary_does_not_matter_where_it_is_not_read():
    config = transformers.ElectraConfig(**TINY, embedding_size=16, summary_type="mean")
    back = triptych.to_hf(triptych.from_hf(transformers.ElectraForTokenClassification(config)))
    assert back.config.summary_type == "mean"


@pytest.mark.parametrize(
    ("model_type", "fields"),
    [
        ("bert", {"pooler": "none", "classifier_activation": "relu"}),
        ("roberta", {"pad_token_id": 1, "position_offset": 2}),
        ("xlm-roberta", {"pad_token_id": 1, "position_offset": 2, "type_vocab_size": 1}),
        ("camembert", {"pad_token_id": 4, "position_offset": 5}),
        ("distilbert", {"type_vocab_size": 0}),
        ("electra", {"classifier_activation": "tanh"}),
        ("bert", {"tie_word_embeddings": False}),
        ("roberta", {"pad_token_id": 1, "position_offset": 2, "tie_word_embeddings": False}),
    ],
)
def test_encoders_of_ours_become_public_ones(model_type, fields, reload, assert_close):
    torch.manual_seed(0)
    ours = TriptychEncoderForMaskedLM(triptych.TriptychEncoderConfig(**{**TINY, **fields})).eval()
    theirs = reload(triptych.to_hf(ours, model_type))
    ids = torch.randint(5, 53, (2, 18))  # to the last position but two
    with torch.no_grad():
        assert_close(theirs(ids).logits, ours(ids).logits)


@pytest.mark.parametrize(
    ("model_type", "fields", "named"),
    [
        ("distilbert", {"pooler": "none"}, "type_vocab_size=2 .there 0."),
        ("distilbert", {"type_vocab_size": 0}, "pooler='tanh' .there 'none'."),
        ("bert", {"pooler": "relu"}, "pooler='relu' .there 'tanh'."),
        ("distilbert", {"type_vocab_size": 0, "norm_eps": 1e-5}, "norm_eps"),
        ("electra", {"pooler": "tanh"}, "pooler='tanh'"),
        ("roberta", {"pad_token_id": 1, "position_offset": 2, "residual": "pre"}, "residual='pre'"),
    ],
)
def test_what_theirs_lack_is_named(model_type, fields, named):
    ours = TriptychEncoderModel(triptych.TriptychEncoderConfig(**{**TINY, **fields}))
    with pytest.raises(CannotExpress, match=named):
        triptych.to_hf(ours, model_type)


def test_every_position_of_roberta_has_its_row(assert_close):
    """20 tokens in a table of 22 rows: its last row is reached, and no position beyond it exists."""
    torch.manual_seed(0)
    theirs = RobertaForMaskedLM(RobertaConfig(**{**TINY, "max_position_embeddings": 22, "pad_token_id": 1})).eval()
    ours = triptych.from_hf(theirs)
    assert (ours.config.max_position_embeddings, ours.config.position_offset) == (20, 2)
    ids = torch.randint(5, 53, (2, 21))
    with torch.no_grad():
        assert_close(ours(ids[:, :20]).logits, theirs(ids[:, :20]).logits)
        with pytest.raises((IndexError, RuntimeError)):
            theirs(ids)
        with pytest.raises(IndexError, match="max_position_embeddings"):
            ours(ids)


def test_sinusoids_of_distilbert_are_a_table_of_weights(assert_close):
    """The flag says how the table starts; a checkpoint has it like any other, and may have trained it."""
    config = DistilBertConfig(vocab_size=53, dim=16, n_layers=1, n_heads=2, hidden_dim=24, sinusoidal_pos_embds=True)
    theirs = DistilBertModel(config).eval()
    ours = triptych.from_hf(theirs)
    angles = torch.arange(512.0)[:, None] / 10000 ** (torch.arange(0, 16, 2) / 16)
    assert_close(ours.positions.table.weight[:, ::2], angles.sin())
    assert_close(ours.positions.table.weight[:, 1::2], angles.cos())
    assert ours.config.positions == "learned"
    assert triptych.to_hf(ours).config.sinusoidal_pos_embds


@pytest.mark.parametrize("kind", ["ForSequenceClassification", "ForMultipleChoice", "ForTokenClassification"])
def test_a_dropout_before_a_classifier_is_that_of_the_head(kind):
    rates = {"seq_classif_dropout": 0.3, "dropout": 0.25}
    theirs = getattr(transformers, f"DistilBert{kind}")(
        DistilBertConfig(vocab_size=53, dim=16, n_layers=1, n_heads=2, hidden_dim=24, **rates)
    )
    assert triptych.from_hf(theirs).dropout.p == theirs.dropout.p


ROBERTAS = {  # pad_token_id, whose successor is the first position
    "RobertaForMaskedLM": 1,
    "XLMRobertaModel": 1,
    "CamembertForTokenClassification": 1,
    "RobertaForSequenceClassification": 3,
    "XLMRobertaForMultipleChoice": 1,
    "RobertaModel": 0,
}


@pytest.fixture(params=ROBERTAS)
def roberta(request):
    torch.manual_seed(0)
    their_class = getattr(transformers, request.param)
    theirs = their_class(their_class.config_class(**{**TINY, "pad_token_id": ROBERTAS[request.param]})).eval()
    with torch.no_grad():
        theirs.base_model.embeddings.position_embeddings.weight.normal_()
    return theirs


@torch.no_grad()
def test_positions_that_are_given_mean_what_they_mean_to_roberta(roberta, reload, assert_close):
    """From a place of one's own, and as RoBERTa counts them itself, for padding on either side."""
    pad, ours = roberta.config.pad_token_id, reload(triptych.from_hf(roberta))
    choices = (2,) if "MultipleChoice" in type(roberta).__name__ else ()
    ids = torch.randint(5, 53, (2, *choices, 6))
    right, left = torch.ones_like(ids), torch.ones_like(ids)
    right[1, ..., 4:], left[1, ..., :2] = 0, 0
    later = (torch.arange(6) + pad + 4).expand_as(ids)
    for mask, positions in (
        (torch.ones_like(ids), later),
        (right, right.cumsum(-1) * right + pad),
        (left, left.cumsum(-1) * left + pad),
    ):
        inputs = {"input_ids": ids.masked_fill(mask == 0, pad), "attention_mask": mask, "position_ids": positions}
        expected, actual = roberta(**inputs)[0], ours(**inputs)[0]
        if expected.shape[:-1] == mask.shape:
            expected, actual = expected[mask.bool()], actual[mask.bool()]
        elif mask is left:
            continue  # theirs reads the padding in front of the sequence
        assert_close(actual, expected)
    assert_close(ours(ids, position_ids=torch.arange(6).expand_as(ids) + pad + 1)[0], ours(ids)[0])


def test_positions_that_count_from_nought_are_refused_by_a_roberta(reload):
    config = RobertaConfig(**{**TINY, "pad_token_id": 1})
    ours = reload(triptych.from_hf(RobertaForMaskedLM(config)))
    ids, mask = torch.randint(5, 53, (2, 6)), torch.tensor([[1] * 6, [0] * 2 + [1] * 4])
    for positions in (torch.arange(6)[None], (mask.cumsum(-1) - 1).clamp(min=0)):
        with pytest.raises(ValueError, match=r"first_position_id=2.*got 0; add 2 to each"):
            ours(ids, attention_mask=mask, position_ids=positions)
    ours(ids, attention_mask=mask, position_ids=(mask.cumsum(-1) + 1) * mask)  # any number for the padding


@torch.no_grad()
def test_positions_that_are_given_mean_the_same(theirs, ours_of, assert_close):
    """To every model of theirs that takes them; the first positions are not the first of the table."""
    if "position_ids" not in inspect.signature(theirs.forward).parameters:
        assert theirs.config.is_encoder_decoder or theirs.config.model_type in ("falcon", "t5", "mt5")
        return
    choices = (2,) if "MultipleChoice" in type(theirs).__name__ else ()
    ids = torch.randint(5, 53, (2, *choices, 6), generator=torch.Generator().manual_seed(0))
    ours = ours_of(theirs)
    positions = torch.arange(6).expand_as(ids) + torch.tensor([3, 7]).view(-1, *[1] * (ids.ndim - 1))
    positions = positions + getattr(ours.config, "first_position_id", 0)
    theirs_take = positions.flatten(0, 1) if choices and theirs.config.model_type == "distilbert" else positions
    expected = theirs(input_ids=ids, position_ids=theirs_take)
    assert_close(ours(ids, position_ids=positions)[0], expected[0])
