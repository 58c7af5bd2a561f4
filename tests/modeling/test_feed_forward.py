"""Section 3.3, and its gated variant."""

import pytest
import torch
from torch.nn import functional as F

from triptych.modeling.feed_forward import FEED_FORWARDS


@pytest.mark.parametrize("bias", [True, False])
def test_equation_2(make_config, bias):
    ffn = FEED_FORWARDS["plain"](make_config("encoder_decoder", feed_forward_bias=bias)).eval()
    x = torch.randn(2, 3, 32)
    w1, w2 = ffn.up_proj.weight, ffn.down_proj.weight
    b1, b2 = (ffn.up_proj.bias, ffn.down_proj.bias) if bias else (0.0, 0.0)
    torch.testing.assert_close(ffn(x), (x @ w1.T + b1).clamp(min=0) @ w2.T + b2)


def test_gated_linear_unit(make_config):
    config = make_config("decoder", feed_forward="gated", activation="silu", feed_forward_bias=False)
    ffn = FEED_FORWARDS["gated"](config).eval()
    x = torch.randn(2, 3, 32)
    expected = (F.silu(x @ ffn.gate_proj.weight.T) * (x @ ffn.up_proj.weight.T)) @ ffn.down_proj.weight.T
    torch.testing.assert_close(ffn(x), expected)
    assert all(p.bias is None for p in (ffn.gate_proj, ffn.up_proj, ffn.down_proj))


def test_activation_dropout_acts_in_training_only(make_config):
    ffn, x = FEED_FORWARDS["plain"](make_config("decoder", activation_dropout=0.5)), torch.randn(1, 3, 32)
    assert not torch.allclose(ffn(x), ffn(x))
    ffn.eval()
    assert torch.equal(ffn(x), ffn(x))
