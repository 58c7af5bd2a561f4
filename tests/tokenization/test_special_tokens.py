import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from triptych.configuration import TriptychConfig, TriptychDecoderConfig, TriptychEncoderConfig
from triptych.tokenization import special_token_config, train_tokenizer

CONFIGS = {"encoder-decoder": TriptychConfig, "encoder": TriptychEncoderConfig, "decoder": TriptychDecoderConfig}


def foreign(*tokens: str, **roles: str) -> PreTrainedTokenizerFast:
    """A tokenizer of someone else: these tokens in this order, and the roles that some of them play."""
    vocabulary = {token: token_id for token_id, token in enumerate(tokens)}
    backend = Tokenizer(WordLevel(vocabulary, unk_token=tokens[0]))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


@pytest.fixture(scope="module")
def joint(texts) -> PreTrainedTokenizerFast:
    return train_tokenizer(texts, "bpe", 300)


def test_shared_vocabulary(joint):
    fields = special_token_config(joint)
    assert fields == {
        "vocab_size": 300,
        "decoder_vocab_size": None,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "decoder_start_token_id": 2,
    }
    config = TriptychConfig.from_preset("transformer-base", **fields)
    assert (config.vocab_size, config.target_vocab_size) == (300, 300)


def test_separate_vocabularies(joint, texts):
    target = train_tokenizer(texts, "unigram", 200)
    fields = special_token_config(joint, target)
    assert (fields["vocab_size"], fields["decoder_vocab_size"]) == (300, 200)
    config = TriptychConfig.from_preset("transformer-base", **fields)
    assert (config.vocab_size, config.target_vocab_size) == (300, 200)
    assert config.share_encoder_decoder_embeddings is False


def test_equally_large_separate_vocabularies_do_not_share_embeddings(joint, texts):
    target = train_tokenizer(texts[::-1], "unigram", 300)
    assert special_token_config(joint, target)["share_encoder_decoder_embeddings"] is False
    assert "share_encoder_decoder_embeddings" not in special_token_config(joint, joint)


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_s_configuration_agrees_with_its_tokenizer(texts, family):
    tokenizer = train_tokenizer(texts, "wordpiece", 300, family)
    config = CONFIGS[family](**special_token_config(tokenizer, family=family))
    assert config.vocab_size == len(tokenizer) == 300
    for role in ("pad_token_id", "bos_token_id", "eos_token_id"):
        assert getattr(config, role) == getattr(tokenizer, role)


def test_vocabulary_rounded_up(joint):
    fields = special_token_config(joint, joint, pad_to_multiple_of=64)
    assert fields["vocab_size"] == 320
    assert special_token_config(joint, pad_to_multiple_of=100)["vocab_size"] == 300


@pytest.mark.parametrize(
    ("tokenizer", "expected"),  # pad, bos, eos, decoder start
    [
        (foreign("<pad>", "</s>", "a", pad_token="<pad>", eos_token="</s>"), (0, None, 1, 0)),
        (foreign("[PAD]", "[CLS]", "[SEP]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"), (0, 1, 2, 1)),
        (foreign("a", "<end>", bos_token="<end>", eos_token="<end>"), (1, 1, 1, 1)),
        (foreign("a", "</s>", eos_token="</s>"), (1, None, 1, 1)),
    ],
    ids=["T5 and Marian", "BERT", "GPT-2", "end only"],
)
def test_foreign_tokenizers(tokenizer, expected):
    fields = special_token_config(tokenizer)
    names = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
    assert tuple(fields[name] for name in names) == expected


def test_ids_beyond_the_number_of_tokens_are_embedded():
    backend = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "a": 9}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")
    assert special_token_config(tokenizer)["vocab_size"] == 10


@pytest.mark.parametrize(
    ("tokenizers", "options", "message"),
    [
        ([foreign("a", "b")], {}, "pad_token_id cannot be chosen: .* has neither pad_token nor eos_token"),
        ([foreign("a", "b", pad_token="b")], {}, "eos_token_id cannot be chosen: .* neither eos_token nor sep_token"),
        ([foreign("a", "b")], {"family": "decoder"}, "pad_token_id cannot be chosen"),
        (
            [foreign("a", "</s>", eos_token="</s>"), foreign("</s>", "a", eos_token="</s>")],
            {},
            "source tokenizer pads with id 1, the target tokenizer with id 0",
        ),
        ([foreign("a"), foreign("a")], {"family": "decoder"}, "family='decoder' has one vocabulary"),
        ([foreign("a")], {"family": "gpt"}, "family='gpt' is unknown"),
    ],
)
def test_errors(tokenizers, options, message):
    with pytest.raises(ValueError, match=message):
        special_token_config(*tokenizers, **options)
