"""Made with no argument, each configuration is the model that gave its family the name."""

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError

from triptych import TriptychConfig, TriptychDecoderConfig, TriptychEncoderConfig
from triptych.configuration import messages

PAPER_BASE = {
    "vocab_size": 37000,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "head_dim": 64,
    "value_head_dim": 64,
    "positions": "sinusoidal",
    "sinusoid_layout": "interleaved",
    "residual": "post",
    "norm": "layer",
    "feed_forward": "plain",
    "activation": "relu",
    "embedding_factor": 512**0.5,
    "attention_factor": 64**-0.5,
    "attention_bias": False,
    "attention_output_bias": False,
    "feed_forward_bias": True,
    "head_bias": False,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "label_smoothing": 0.1,
    "tie_word_embeddings": True,
    "share_encoder_decoder_embeddings": True,
    "is_encoder_decoder": True,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "decoder_start_token_id": 2,
}
BERT_BASE = {
    "vocab_size": 30522,
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "positions": "learned",
    "residual": "post",
    "activation": "gelu",
    "norm_eps": 1e-12,
    "embedding_norm": True,
    "embedding_factor": 1.0,
    "attention_bias": True,
    "attention_output_bias": True,
    "feed_forward_bias": True,
    "head_bias": True,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "label_smoothing": 0.0,
    "initializer": "normal",
    "initializer_range": 0.02,
    "is_encoder_decoder": False,
    "pad_token_id": 0,
}
GPT2_SMALL = {
    "vocab_size": 50257,
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "max_position_embeddings": 1024,
    "type_vocab_size": 0,
    "positions": "learned",
    "residual": "pre",
    "activation": "gelu_new",
    "norm_eps": 1e-5,
    "embedding_norm": False,
    "embedding_factor": 1.0,
    "attention_bias": True,
    "attention_output_bias": True,
    "feed_forward_bias": True,
    "head_bias": False,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "initializer": "depth_scaled",
    "initializer_range": 0.02,
    "is_encoder_decoder": False,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
}


@pytest.mark.parametrize(
    ("config_class", "published"),
    [(TriptychConfig, PAPER_BASE), (TriptychEncoderConfig, BERT_BASE), (TriptychDecoderConfig, GPT2_SMALL)],
)
def test_defaults_are_the_published_model(config_class, published):
    config = config_class()
    assert {name: getattr(config, name) for name in published} == published


def test_model_types_differ():
    types = [c.model_type for c in (TriptychConfig, TriptychEncoderConfig, TriptychDecoderConfig)]
    assert types == ["triptych", "triptych_encoder", "triptych_decoder"]


def test_layers_of_the_encoder_decoder_answer_to_the_common_name():
    config = TriptychConfig(encoder_layers=3, decoder_layers=5)
    assert config.num_hidden_layers == 3


def test_text_config_of_the_decoder_has_its_layers_and_its_vocabulary():
    config = TriptychConfig.from_preset(
        "tiny", encoder_layers=2, decoder_layers=5, decoder_vocab_size=53, share_encoder_decoder_embeddings=False
    )
    half = config.get_text_config(decoder=True)
    assert (half.num_hidden_layers, half.vocab_size) == (5, 53)
    seen = config.get_text_config()
    assert vars(seen) is vars(config)
    for whole in (config, config.get_text_config(encoder=True)):
        assert (whole.encoder_layers, whole.decoder_layers, whole.vocab_size) == (2, 5, 97)
    half.validate()


def test_text_config_of_one_stack_is_itself():
    for config in (TriptychEncoderConfig(), TriptychDecoderConfig()):
        assert config.get_text_config(decoder=True).num_hidden_layers == config.num_hidden_layers


def test_default_tokens_follow_a_smaller_vocabulary(monkeypatch):
    warnings = []
    monkeypatch.setattr(messages.logger, "warning_once", warnings.append)
    config = TriptychDecoderConfig(vocab_size=97)
    assert (config.bos_token_id, config.eos_token_id) == (None, None)
    assert "eos_token_id=50256 lies outside the vocabulary of 97" in warnings[-1]
    assert TriptychDecoderConfig(vocab_size=97, eos_token_id=96).eos_token_id == 96
    with pytest.raises(StrictDataclassClassValidationError, match="eos_token_id=97 lies outside the vocabulary of 97"):
        TriptychDecoderConfig(vocab_size=97, eos_token_id=97)
