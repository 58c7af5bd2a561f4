"""Fields whose whole effect is a number or one side: the factors, and what the decoder has for itself."""

import pytest
import torch
from torch import nn

OVERRIDES = {  # fields that change no shape, and change what comes out
    "activation": "gelu",
    "attention_pattern": [2],
    "attention_scale": 0.9,
    "embedding_scale": 3.0,
    "norm_eps": 0.5,
    "position_offset": 3,
    "positions": "none",
    "sinusoid_layout": "concatenated",
}


@torch.no_grad()
@pytest.mark.parametrize("head_bias", [False, True])
def test_logits_are_scaled_before_the_bias_is_added(make_model, family, make_batch, close, head_bias):
    batch = make_batch(family, [7, 5])
    model = make_model(family, head_bias=head_bias, label_smoothing=0.0)
    plain = model(**batch)
    model.config.logit_scale = 0.3
    scaled = model(**batch)
    bias = model.lm_head.bias if head_bias else torch.zeros(())
    close(scaled.logits, 0.3 * (plain.logits - bias) + bias)
    assert not torch.allclose(scaled.logits, plain.logits, atol=1e-2)
    assert abs(scaled.loss - plain.loss) > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("field", OVERRIDES)
def test_an_override_is_for_the_decoder_alone(make_model, words, close, field):
    """The encoder is that of the model without it, the decoder that of a model in which both sides have it."""
    value = OVERRIDES[field]
    inputs = {"input_ids": words(2, 7), "decoder_input_ids": words(2, 6, seed=1)}
    neither, one, both = (
        make_model("encoder_decoder", **fields)
        for fields in ({}, {"decoder_overrides": {field: value}}, {field: value})
    )
    for model in (one, both):
        model.load_state_dict(neither.state_dict())
    memory, found = neither(**inputs).encoder_last_hidden_state, one(**inputs)
    close(found.encoder_last_hidden_state, memory)
    given = {"encoder_outputs": (memory,), "decoder_input_ids": inputs["decoder_input_ids"]}
    close(found.logits, both(**given).logits)
    assert not torch.allclose(found.logits, neither(**inputs).logits, atol=1e-3)


def test_sizes_and_dropouts_of_the_decoder_alone(make_model):
    own = {"intermediate_size": 24, "num_attention_heads": 2, "dropout": 0.3, "attention_dropout": 0.4}
    fields = {"num_attention_heads": 4, "intermediate_size": 48, "activation_dropout": 0.1}
    model = make_model("encoder_decoder", **fields, decoder_overrides={**own, "activation_dropout": 0.2})
    sides = [(model.model.encoder, 48, 4, {0.0, 0.1}, 0.0), (model.model.decoder, 24, 2, {0.3, 0.2}, 0.4)]
    for side, width, heads, rates, attention_rate in sides:
        assert {m.p for m in side.modules() if isinstance(m, nn.Dropout)} == rates
        for layer in side.layers:
            attention = layer.self_attention
            assert layer.feed_forward.up_proj.out_features == width
            assert attention.q_proj.out_features // attention.head_dim == heads
            assert attention.dropout == attention_rate
