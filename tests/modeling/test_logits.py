"""From hidden states to logits: the map, its scale and its bias."""

import pytest
import torch

from triptych import TriptychEncoderConfig, TriptychEncoderForPreTraining


def last_hidden(model, batch):
    """What goes into the map to the vocabulary, before the scale."""
    found = []
    handle = model.lm_head.register_forward_hook(lambda module, inputs, output: found.append(inputs[0]))
    model(**batch)
    handle.remove()
    return found[0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.25])
@torch.no_grad()
def test_logits_are_the_scaled_map_and_its_bias(make_model, family, make_batch, scale, bias):
    """The scale is on the product, not on the bias (T5's, PaLM's)."""
    model = make_model(family, logit_scale=scale, head_bias=bias)
    batch = make_batch(family, [6, 4])
    plain = make_model(family, logit_scale=1.0, head_bias=bias)
    plain.load_state_dict(model.state_dict())
    hidden = last_hidden(plain, batch)
    expected = scale * (hidden @ model.lm_head.weight.T) + (model.lm_head.bias if bias else 0.0)
    torch.testing.assert_close(model(**batch).logits, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_logits_of_pre_training_are_scaled_too(words):
    def make(**fields):
        return TriptychEncoderForPreTraining(TriptychEncoderConfig.from_preset("tiny-encoder", **fields)).eval()

    plain, scaled = make(), make(logit_scale=0.25)
    plain.load_state_dict(scaled.state_dict())
    bias = plain.lm_head.bias
    expected = 0.25 * (plain(words(2, 6)).prediction_logits - bias) + bias
    torch.testing.assert_close(scaled(words(2, 6)).prediction_logits, expected)
