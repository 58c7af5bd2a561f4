"""Norms, and the four forms of the residual path, from the submodules by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from triptych.modeling.layer import TransformerLayer
from triptych.modeling.norms import build_norm
from triptych.modeling.residual import RESIDUALS, SHARED_NORM


def test_layer_norm_by_hand(make_config):
    norm = build_norm(make_config("decoder", hidden_size=4, num_attention_heads=1, norm_eps=1e-5))
    x = torch.tensor([1.0, 2.0, 3.0, 6.0])
    torch.testing.assert_close(norm(x), (x - 3.0) / (3.5 + 1e-5) ** 0.5)


def test_rms_norm_by_hand(make_config):
    norm = build_norm(make_config("decoder", norm="rms", hidden_size=4, num_attention_heads=1, norm_eps=1e-5))
    x = torch.tensor([1.0, 2.0, 3.0, 6.0])
    torch.testing.assert_close(norm(x), x / (12.5 + 1e-5) ** 0.5)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]


def test_layer_norm_without_bias(make_config):
    assert build_norm(make_config("decoder", norm_bias=False)).bias is None


@pytest.fixture
def layers(make_model, residual):
    """A layer of the encoder and one of the decoder, of random parameters, and what surrounds them."""
    model = make_model("encoder_decoder", residual=residual, positions="none", attn_implementation="eager")
    return model.model.encoder.layers[0], model.model.decoder.layers[0]


def by_hand(residual, x, sublayers, norms):
    if residual == "parallel":
        h = norms[SHARED_NORM](x)
        return x + sum(f(h) for f in sublayers.values())
    if residual == "parallel_norms":
        return x + sum(f(norms[name](x)) for name, f in sublayers.items())
    for name, f in sublayers.items():
        x = norms[name](x + f(x)) if residual == "post" else x + f(norms[name](x))
    return x


def add_up(residual, x, sublayers, norms):
    """The path of that name, over sublayers that are plain functions."""
    layer = SimpleNamespace(sublayers=tuple(sublayers), norms=norms, limit_sum=lambda x: x)
    return RESIDUALS[residual].add(layer, x, lambda name, h: sublayers[name](h))


def build_norms(config, names):
    names = [SHARED_NORM] if RESIDUALS[config.residual].shares_norm else names
    return nn.ModuleDict({name: build_norm(config) for name in names})


@torch.no_grad()
def test_layer_of_the_encoder(layers, residual):
    layer, x = layers[0], torch.randn(2, 5, 32)
    sublayers = {"self_attention": layer.self_attention, "feed_forward": layer.feed_forward}
    torch.testing.assert_close(layer(x), by_hand(residual, x, sublayers, layer.norms))


@torch.no_grad()
def test_layer_of_the_decoder(layers, residual):
    layer, x, memory = layers[1], torch.randn(2, 5, 32), torch.randn(2, 7, 32)
    sublayers = {
        "self_attention": layer.self_attention,
        "cross_attention": lambda h: layer.cross_attention(h, memory=memory),
        "feed_forward": layer.feed_forward,
    }
    torch.testing.assert_close(layer(x, memory), by_hand(residual, x, sublayers, layer.norms))


def test_numbers_by_hand(make_config, residual):
    """One sublayer doubles, one negates, on x = (3, 1): LayerNorm is ±(1, -1) up to epsilon."""
    config = make_config("decoder", hidden_size=2, num_attention_heads=1, norm_eps=1e-12, residual=residual)
    expected = {
        "post": [0.0, 0.0],  # LN(3x) = (1, -1), then LN(0)
        "pre": [5 - 1.0, -1 + 1.0],  # x + 2(1, -1) = (5, -1), less its norm (1, -1)
        "parallel": [3 + 2 - 1.0, 1 - 2 + 1.0],
        "parallel_norms": [3 + 2 - 1.0, 1 - 2 + 1.0],  # both norms are new, so they are one
    }
    sublayers = {"twice": lambda x: 2 * x, "negate": lambda x: -x}
    output = add_up(residual, torch.tensor([[3.0, 1.0]]), sublayers, build_norms(config, sublayers))
    torch.testing.assert_close(output, torch.tensor([expected[residual]]))


def test_parallel_sublayers_have_their_own_norms(make_config):
    """Norms of gain 5 and 7: each scales what its own sublayer is given."""
    config = make_config("decoder", hidden_size=2, num_attention_heads=1, norm_eps=1e-12, residual="parallel_norms")
    sublayers = {"twice": lambda x: 2 * x, "negate": lambda x: -x}
    norms = build_norms(config, sublayers)
    with torch.no_grad():
        norms["twice"].weight.fill_(5.0)
        norms["negate"].weight.fill_(7.0)
    output = add_up("parallel_norms", torch.tensor([[3.0, 1.0]]), sublayers, norms)
    torch.testing.assert_close(output, torch.tensor([[3 + 10 - 7.0, 1 - 10 + 7.0]]))


@torch.no_grad()
def test_dropout_is_on_each_sublayer_and_off_in_evaluation(make_config, residual):
    """Each half of a layer alone, the other adds nothing: both vary from call to call in training only."""
    for silent in ("self_attention.o_proj", "feed_forward.down_proj"):
        layer = TransformerLayer(make_config("decoder", dropout=0.5, residual=residual), 0, True, False)
        for parameter in layer.get_submodule(silent).parameters():
            parameter.zero_()
        x = torch.randn(1, 3, 32)
        assert not torch.allclose(layer(x), layer(x))
        layer.eval()
        assert torch.equal(layer(x), layer(x))


def test_final_norm_only_where_layers_do_not_end_with_one(make_model, residual, family):
    body = make_model(family, residual=residual).model
    stacks = [body.encoder, body.decoder] if family == "encoder_decoder" else [body]
    for stack in stacks:
        assert isinstance(stack.norm, nn.Identity) == (residual == "post")
