"""Another vocabulary: tokens that both have keep their numbers, special tokens keep their roles."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
)

from triptych import (
    TriptychDecoderConfig,
    TriptychDecoderForSequenceClassification,
    TriptychForConditionalGeneration,
    from_hf,
    keep_layers,
    replace_vocabulary,
)

OLD = {"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, **{f"w{i}": i for i in range(4, 97)}}
# Words in another order, half of them unknown, in a vocabulary with a gap, whose special tokens have other names.
NEW = {**{f"w{i}": 100 - i for i in range(4, 50)}, **{f"n{i}": i for i in range(1, 40)}}
NEW |= {"[PAD]": 0, "[CLS]": 97, "[SEP]": 98, "<unk>": 110}
BERT_LIKE = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "<unk>"}
OURS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def tokenizer(vocabulary, special):
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


@pytest.fixture
def old():
    return tokenizer(OLD, OURS)


@pytest.fixture
def new():
    return tokenizer(NEW, BERT_LIKE)


def shared_ids():
    """The ids of common words in both vocabularies."""
    words = [word for word in NEW if word in OLD]
    return torch.tensor([OLD[word] for word in words]), torch.tensor([NEW[word] for word in words])


TIED = [{}, {"head_bias": True}, {"tie_word_embeddings": False, "head_bias": True}]


@pytest.mark.parametrize("fields", TIED)
@pytest.mark.parametrize("mappings", [False, True])
def test_common_tokens_compute_what_they_did(make_model, family, old, new, fields, mappings, logits_of):
    model = make_model(family, **fields)
    changed = replace_vocabulary(model, *((OLD, NEW) if mappings else (old, new)))
    assert (changed.config.vocab_size, model.config.vocab_size) == (111, 97)
    before, after = shared_ids()
    picks = torch.randint(len(before), (2, 3, 7), generator=torch.Generator().manual_seed(0))
    expected = logits_of(model, before[picks[0]], target=before[picks[1]])
    found = logits_of(changed, after[picks[0]], target=after[picks[1]])
    assert found.shape[-1] == 111
    assert torch.equal(found[..., after], expected[..., before])
    assert (changed.lm_head.weight is changed.model.embed_tokens.weight) == ("tie_word_embeddings" not in fields)


def test_new_tokens_start_at_the_mean(make_model, old, new, close):
    model = make_model("decoder", tie_word_embeddings=False, head_bias=True)
    changed = replace_vocabulary(model, old, new)
    for former, table in (
        (model.model.embed_tokens.weight, changed.model.embed_tokens.weight),
        (model.lm_head.weight, changed.lm_head.weight),
        (model.lm_head.bias, changed.lm_head.bias),
    ):
        for index in (NEW["n7"], 105):  # a new word, and a gap
            close(table[index], former.mean(0))


def test_special_tokens_of_one_role_are_one_token(make_model, old, new):
    model = make_model("encoder_decoder")
    changed = replace_vocabulary(model, old, new)
    table, former = changed.model.embed_tokens.weight, model.model.embed_tokens.weight
    assert torch.equal(table[NEW["[PAD]"]], former[OLD["<pad>"]])
    assert torch.equal(table[NEW["<unk>"]], former[OLD["<unk>"]])
    for holder in (changed.config, changed.generation_config):
        assert (holder.pad_token_id, holder.bos_token_id, holder.eos_token_id) == (0, 97, 98)
        assert holder.decoder_start_token_id == 97
    assert model.config.bos_token_id == 2
    again = replace_vocabulary(changed, new, old)
    assert (again.config.bos_token_id, again.config.eos_token_id, again.config.vocab_size) == (2, 3, 97)


def test_ids_follow_tokens_where_nothing_names_them(make_model):
    model = make_model("encoder_decoder", eos_token_id=[3, 50], decoder_start_token_id=4)
    model.generation_config.bad_words_ids = [[5], [6, 90], [90]]
    model.generation_config.suppress_tokens = [7, 90]
    model.generation_config.forced_bos_token_id = 90
    changed = replace_vocabulary(model, OLD, {**NEW, "</s>": 99})
    config, options = changed.config, changed.generation_config
    assert (config.eos_token_id, config.bos_token_id, config.pad_token_id) == ([99], None, None)
    assert config.decoder_start_token_id == NEW["w4"]
    assert options.bad_words_ids == [[NEW["w5"]]]
    assert (options.suppress_tokens, options.forced_bos_token_id) == ([NEW["w7"]], None)


def test_a_start_without_a_counterpart_is_another_token(make_model, old):
    t5_like = tokenizer({"<pad>": 1, "<unk>": 0, "</s>": 2, "w5": 3}, {**OURS, "bos_token": None})
    changed = replace_vocabulary(make_model("encoder_decoder"), old, t5_like)
    config = changed.config
    assert (config.bos_token_id, config.decoder_start_token_id, config.eos_token_id) == (None, 1, 2)
    assert config.vocab_size == changed.lm_head.out_features == 4


def test_each_of_two_vocabularies_is_replaced_alone(make_model, old, new):
    fields = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 97, "head_bias": True}
    model = make_model("encoder_decoder", **fields)
    before, after = shared_ids()
    ids, target = before[:6][None], before[6:11][None]
    expected = model(input_ids=ids, decoder_input_ids=target).logits
    source = replace_vocabulary(model, old, new, side="source")
    assert (source.config.vocab_size, source.config.decoder_vocab_size) == (111, 97)
    assert source.config.eos_token_id == 3
    assert torch.equal(source(input_ids=after[:6][None], decoder_input_ids=target).logits, expected)
    both = replace_vocabulary(source, old, new, side="target")
    assert (both.config.vocab_size, both.config.decoder_vocab_size) == (111, 111)
    assert (both.config.eos_token_id, both.lm_head.weight is both.model.decoder_embed_tokens.weight) == (98, True)
    found = both(input_ids=after[:6][None], decoder_input_ids=after[6:11][None]).logits
    assert torch.equal(found[..., after], expected[..., before])


def test_two_matrices_over_one_vocabulary(make_model, old, new):
    model = make_model("encoder_decoder", share_encoder_decoder_embeddings=False)
    changed = replace_vocabulary(model, old, new)
    before, after = shared_ids()
    assert torch.equal(changed.model.embed_tokens.weight[after], model.model.embed_tokens.weight[before])
    own = changed.model.decoder_embed_tokens.weight
    assert torch.equal(own[after], model.model.decoder_embed_tokens.weight[before])


def test_of_a_warm_started_model(make_model, old, new):
    encoder, decoder = (make_model(family, hidden_size=32, vocab_size=97) for family in ("encoder", "decoder"))
    model = TriptychForConditionalGeneration.from_encoder_decoder(encoder, decoder)
    changed = keep_layers(replace_vocabulary(model, old, new, side="target"), decoder_layers=[0])
    before, after = shared_ids()
    ids = before[:6][None]
    expected = keep_layers(model, decoder_layers=[0])(input_ids=ids, decoder_input_ids=ids).logits
    found = changed(input_ids=ids, decoder_input_ids=after[:6][None]).logits
    assert torch.equal(found[..., after], expected[..., before])


def test_heads_and_bodies_without_a_map(make_model, old, new):
    before, after = shared_ids()
    body = make_model("encoder").model
    found = replace_vocabulary(body, old, new)(after[None, :5]).last_hidden_state
    assert torch.equal(found, body(before[None, :5]).last_hidden_state)
    model = TriptychDecoderForSequenceClassification(TriptychDecoderConfig.from_preset("tiny-decoder")).eval()
    found = replace_vocabulary(model, old, new)(after[None, :5]).logits
    assert torch.equal(found, model(before[None, :5]).logits)


def test_of_a_public_model(old, new, close, tmp_path):
    torch.manual_seed(0)
    bert = BertForMaskedLM(
        BertConfig(vocab_size=97, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48)
    ).eval()
    nn.init.normal_(bert.cls.predictions.bias)
    changed = replace_vocabulary(from_hf(bert), old, new)
    before, after = shared_ids()
    close(changed(after[None, :9]).logits[..., after], bert(before[None, :9]).logits[..., before])
    changed.save_pretrained(tmp_path)
    loaded = type(changed).from_pretrained(tmp_path)
    assert torch.equal(loaded(after[None, :9]).logits, changed(after[None, :9]).logits)


def test_what_is_frozen_and_half_precise_stays_so(make_model, old, new):
    model = make_model("decoder").bfloat16().requires_grad_(False)
    changed = replace_vocabulary(model, old, new)
    assert changed.dtype == torch.bfloat16
    assert not any(parameter.requires_grad for parameter in changed.parameters())


def test_sides_and_tokens_that_are_not_there(make_model, old, new):
    with pytest.raises(ValueError, match=r"side='source'.*one vocabulary"):
        replace_vocabulary(make_model("encoder"), old, new, side="source")
    fields = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 97}
    for side in (None, "both"):
        with pytest.raises(ValueError, match="two vocabularies; choose"):
            replace_vocabulary(make_model("encoder_decoder", **fields), old, new, side=side)
    with pytest.raises(ValueError, match="no tokens"):
        replace_vocabulary(make_model("decoder"), OLD, {})
    model = make_model("encoder_decoder", **fields, pad_token_id=9)
    with pytest.raises(StrictDataclassError, match="pad_token_id=9 lies outside"):
        replace_vocabulary(model, OLD, {"w5": 0}, side="source")
