"""Each field in which a decoder can differ from its encoder has its effect there, and only there."""

import pytest
import torch
from torch import nn

from triptych import TriptychConfig, TriptychModel
from triptych.configuration.families import own_fields

RELATIVE = {"positions": "relative"}
ROTARY = {"positions": "rotary"}
# The decoder's value, and what both sides have beside it where the field means nothing with the defaults.
OVERRIDES = {
    "activation": ("gelu", {}),
    "activation_dropout": (0.5, {}),
    "attention_bias": (True, {}),
    "attention_dropout": (0.5, {}),
    "attention_output_bias": (True, {}),
    "attention_pattern": ([2], {}),
    "attention_scale": (0.7, {}),
    "dropout": (0.5, {}),
    "embedding_norm": (True, {}),
    "embedding_scale": (2.0, {}),
    "feed_forward": ("gated", {}),
    "feed_forward_bias": (False, {}),
    "head_dim": (6, {}),
    "initializer": ("normal", {}),
    "initializer_range": (3.0, {"initializer": "normal"}),
    "intermediate_size": (24, {}),
    "masked_positions": ("counted", {}),
    "max_position_embeddings": (16, {"positions": "learned"}),
    "norm": ("rms", {}),
    "norm_bias": (False, {}),
    "norm_eps": (0.1, {}),
    "num_attention_heads": (2, {}),
    "num_key_value_heads": (1, {}),
    "position_offset": (3, {}),
    "positions": ("learned", {}),
    "relative_max_distance": (9, RELATIVE | {"relative_num_buckets": 8}),
    "relative_num_buckets": (8, RELATIVE),
    "residual": ("pre", {}),
    "rope_parameters": ({"rope_theta": 50.0}, ROTARY),
    "rotary_dim": (4, ROTARY),
    "sinusoid_layout": ("concatenated", {}),
    "value_head_dim": (6, {}),
}
ROWS, SOURCE, TARGET = 2, 5, 7
# Fields that change no shape, and change what comes out.
SHAPELESS = {
    "activation": "gelu",
    "attention_pattern": [2],
    "attention_scale": 0.9,
    "embedding_scale": 3.0,
    "norm_eps": 0.5,
    "position_offset": 3,
    "positions": "none",
    "sinusoid_layout": "concatenated",
}


def test_every_field_is_here():
    assert OVERRIDES.keys() == own_fields()


def make(seed=0, **fields):
    torch.manual_seed(seed)
    sizes = {"num_attention_heads": 4, "hidden_size": 32, "dropout": 0.1}
    model = TriptychModel(TriptychConfig.from_preset("tiny", **sizes | fields))
    return model


def randomize(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def run(stack, model, words, memory=None):
    """What a stack computes in training, its dropout drawn from one seed."""
    torch.manual_seed(1)
    with torch.no_grad():
        embedded = model.embed_tokens(words)
        mask = torch.ones(words.shape, dtype=torch.long)
        mask[:, 2] = 0  # so that it matters whether a masked token takes a position
        outputs = stack.train()(inputs_embeds=embedded, attention_mask=mask, encoder_hidden_states=memory)
        return outputs.last_hidden_state


def shapes(stack):
    return {name: parameter.shape for name, parameter in stack.named_parameters()}


@pytest.mark.parametrize("field", [name for name in OVERRIDES if not name.startswith("initializer")])
def test_the_decoder_has_it_and_the_encoder_has_not(field):
    value, common = OVERRIDES[field]
    differing = randomize(make(**common, decoder_overrides={field: value}))
    without, everywhere = make(**common), make(**common | {field: value})
    for other in (without, everywhere):
        other.embed_tokens.load_state_dict(differing.embed_tokens.state_dict())
    without.encoder.load_state_dict(differing.encoder.state_dict())
    everywhere.decoder.load_state_dict(differing.decoder.state_dict())

    words = torch.randint(5, 97, (ROWS, TARGET), generator=torch.Generator().manual_seed(0))
    memory = torch.randn(ROWS, SOURCE, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(run(differing.encoder, differing, words), run(without.encoder, without, words))
    found = run(differing.decoder, differing, words, memory)
    assert torch.equal(found, run(everywhere.decoder, everywhere, words, memory))
    if shapes(differing.decoder) == shapes(without.decoder):
        without.decoder.load_state_dict(differing.decoder.state_dict())
        assert not torch.allclose(found, run(without.decoder, without, words, memory), atol=1e-4)


@pytest.mark.parametrize("field", [name for name in OVERRIDES if name.startswith("initializer")])
def test_the_decoder_starts_as_it_says(field):
    value, common = OVERRIDES[field]
    differing, without = make(**common, decoder_overrides={field: value}), make(**common)
    everywhere = make(**common | {field: value})

    def spread(stack):
        return stack.layers[0].feed_forward.up_proj.weight.std().item()

    assert spread(differing.encoder) == pytest.approx(spread(without.encoder), rel=0.1)
    assert spread(differing.decoder) == pytest.approx(spread(everywhere.decoder), rel=0.1)
    assert abs(spread(differing.decoder) / spread(without.decoder) - 1) > 0.5


@torch.no_grad()
@pytest.mark.parametrize("field", SHAPELESS)
def test_an_override_is_for_the_decoder_alone(make_model, words, close, field):
    """The encoder is that of the model without it, the decoder that of a model in which both sides have it."""
    value = SHAPELESS[field]
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
