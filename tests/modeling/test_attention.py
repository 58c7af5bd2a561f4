"""Equation (1) and section 3.2.2."""

import pytest
import torch
from torch.nn import functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from triptych.modeling.attention import SelfAttention, eager_attention
from triptych.modeling.layer import TransformerLayer


@pytest.fixture
def make_attention(make_config):
    def make(attn_implementation="eager", **fields):
        config = make_config("decoder", **fields)
        config._attn_implementation = attn_implementation
        torch.manual_seed(0)
        attention = SelfAttention(config, layer_idx=0).eval()
        with torch.no_grad():
            for parameter in attention.parameters():
                parameter.normal_(std=0.5)
        return attention

    return make


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_equation_1_by_hand(make_attention, attn_implementation):
    """Q = K = I and V = [[1, 2], [3, 4]]: the weights are e^(1/√2) : 1, that is 0.66976155 : 0.33023845."""
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(attn_implementation, eager_attention)
    identity, value = torch.eye(2)[None, None], torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    attention = make_attention(num_attention_heads=1, head_dim=2)
    output, weights = attend(attention, identity, identity, value, None, scaling=attention.scaling)
    torch.testing.assert_close(output[0, :, 0], torch.tensor([[1.6604769, 2.6604769], [2.3395231, 3.3395231]]))
    if weights is not None:
        torch.testing.assert_close(weights[0, 0], torch.tensor([[0.66976155, 0.33023845], [0.33023845, 0.66976155]]))


def test_a_mask_removes_and_a_bias_adds_before_the_softmax(make_attention):
    identity, value = torch.eye(2)[None, None], torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    mask = torch.tensor([[[[0.0, float("-inf")], [0.0, 0.0]]]])
    bias = torch.tensor([[[[0.0, 0.0], [0.7071067812, 0.0]]]])  # lifts the other key to the score of the own one
    attention = make_attention(num_attention_heads=1, head_dim=2)
    output, _ = eager_attention(attention, identity, identity, value, mask, attention.scaling, position_bias=bias)
    torch.testing.assert_close(output[0, :, 0], torch.tensor([[1.0, 2.0], [2.0, 3.0]]))


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("heads", [1, 4])
def test_multi_head_equals_pytorch(make_attention, attn_implementation, bias, heads):
    ours = make_attention(
        attn_implementation, num_attention_heads=heads, attention_bias=bias, attention_output_bias=bias
    )
    x = torch.randn(2, 5, 32)
    maps = (ours.q_proj, ours.k_proj, ours.v_proj)
    expected, weights = F.multi_head_attention_forward(
        *[x.transpose(0, 1)] * 3,
        embed_dim_to_check=32,
        num_heads=heads,
        in_proj_weight=torch.cat([p.weight for p in maps]),
        in_proj_bias=torch.cat([p.bias for p in maps]) if bias else None,
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=ours.o_proj.weight,
        out_proj_bias=ours.o_proj.bias,
        average_attn_weights=False,
    )
    recorded = []
    ours.weights.register_forward_hook(lambda module, args, output: recorded.append(output[0]))
    torch.testing.assert_close(ours(x), expected.transpose(0, 1), atol=1e-5, rtol=1e-5)
    if attn_implementation == "eager":
        torch.testing.assert_close(recorded[0], weights, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("length", [1, 5])
def test_grouped_queries_equal_repeated_keys_and_values(make_attention, attn_implementation, groups, length):
    grouped = make_attention(attn_implementation, num_key_value_heads=groups)
    full = make_attention(attn_implementation)
    full.q_proj.load_state_dict(grouped.q_proj.state_dict())
    full.o_proj.load_state_dict(grouped.o_proj.state_dict())
    for name in ("k_proj", "v_proj"):
        for part in ("weight", "bias"):
            heads = getattr(getattr(grouped, name), part).data.unflatten(0, (groups, 8))
            getattr(getattr(full, name), part).data = heads.repeat_interleave(4 // groups, dim=0).flatten(0, 1)
    assert grouped.k_proj.out_features == groups * 8
    x, bias = torch.randn(2, length, 32), torch.randn(1, 4, length, length)
    torch.testing.assert_close(grouped(x), full(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(grouped(x, position_bias=bias), full(x, position_bias=bias), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_widths_of_keys_and_values_are_free(make_attention, attn_implementation, kv_heads):
    """Table 3, rows B: d_k and d_v need not be d_model / h, nor equal. Each head by equation (1)."""
    ours = make_attention(attn_implementation, head_dim=6, value_head_dim=10, num_key_value_heads=kv_heads)
    assert (ours.q_proj.out_features, ours.o_proj.in_features) == (24, 40)
    x = torch.randn(1, 5, 32)
    query, key, value = (p(x)[0] for p in (ours.q_proj, ours.k_proj, ours.v_proj))
    heads = []
    for h in range(4):
        g = h * kv_heads // 4
        scores = query[:, 6 * h : 6 * h + 6] @ key[:, 6 * g : 6 * g + 6].T / 6**0.5
        heads.append(scores.softmax(-1) @ value[:, 10 * g : 10 * g + 10])
    torch.testing.assert_close(ours(x)[0], ours.o_proj(torch.cat(heads, -1)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_scale_can_be_set(make_attention, attn_implementation):
    usual, t5 = make_attention(attn_implementation), make_attention(attn_implementation, attention_scale=1.0)
    x = torch.randn(1, 5, 32)
    assert not torch.allclose(usual(x), t5(x), atol=1e-2)
    usual.q_proj.weight.data *= 8**0.5
    usual.q_proj.bias.data *= 8**0.5
    torch.testing.assert_close(usual(x), t5(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_attention_dropout_acts_in_training_only(make_attention, attn_implementation):
    attention, x = make_attention(attn_implementation, attention_dropout=0.5), torch.randn(1, 5, 32)
    assert torch.equal(attention(x), attention(x))
    attention.train()
    assert not torch.allclose(attention(x), attention(x))


# --- a part used alone


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa", "varlen"])
@pytest.mark.parametrize("pattern", [None, [3]])
@pytest.mark.parametrize("length", [2, 7])
@torch.no_grad()
def test_a_layer_alone_sees_what_it_says(make_config, attn_implementation, pattern, length):
    """Without a stack around it, and without a mask: a causal one hides the future, a band what is far away."""
    for is_causal in (True, False):
        config = make_config("decoder", attention_pattern=pattern)
        config._attn_implementation = attn_implementation
        torch.manual_seed(0)
        layer, x = TransformerLayer(config, 0, is_causal, has_memory=False).eval(), torch.randn(1, length, 32)
        outputs = layer(x)
        for changed in range(length):
            other = x.clone()
            other[0, changed] = torch.randn(32)
            differs = (layer(other) - outputs)[0].abs().amax(-1) > 1e-6
            distance = torch.arange(length) - changed  # how far behind the changed position
            expected = distance >= 0 if is_causal else torch.ones(length, dtype=torch.bool)
            if pattern is not None:
                expected &= (distance.abs() if not is_causal else distance) < 3 + (not is_causal)
            assert torch.equal(differs, expected), (is_causal, changed)


@torch.no_grad()
def test_an_attention_alone_sees_what_a_layer_does(make_attention):
    x = torch.randn(2, 5, 32)
    causal = make_attention()
    causal.is_causal = True
    longer = causal(torch.cat([x, torch.randn(2, 3, 32)], dim=1))[:, :5]
    torch.testing.assert_close(causal(x), longer)
