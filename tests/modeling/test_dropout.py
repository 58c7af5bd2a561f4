"""Dropout by its effect: in training an element is dropped with probability p, or scaled by 1 / (1 - p)."""

import pytest
import torch
from torch import nn

P = 0.4
QUIET = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "classifier_dropout": 0.0}
SUBLAYERS = ("self_attention", "cross_attention", "feed_forward")


def assert_dropped(trained, evaluated, p=P):
    """Every element of `trained` is 0 or what it is in evaluation over 1 - p, and about a part p of them is 0."""
    kept = evaluated / (1 - p)
    dropped = trained.abs() < 1e-6
    assert dropped.float().mean().item() == pytest.approx(p, abs=0.1)
    torch.testing.assert_close(trained[~dropped], kept[~dropped], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def seen(module, run, attribute):
    """What a module gets ("input") or gives ("output") while `run` runs."""
    found = []

    def hook(_, inputs, output):
        found.append((inputs[0] if attribute == "input" else output).clone())

    handle = module.register_forward_hook(hook)
    run()
    handle.remove()
    (value,) = found
    return value


def both(model, part, module, run):
    """What a module gets while only `part` of the model trains, and in evaluation."""
    model.eval()
    evaluated = seen(module, run, "input")
    part.train()
    return seen(module, run, "input"), evaluated


def stacks(model):
    return [module for module in model.modules() if isinstance(getattr(module, "layers", None), nn.ModuleList)]


@pytest.mark.parametrize("embedding_norm", [False, True])
def test_the_sum_of_the_embeddings(make_model, family, make_batch, embedding_norm):
    model = make_model(family, **QUIET | {"dropout": P}, embedding_norm=embedding_norm)
    batch = make_batch(family, [9, 9])
    for stack in stacks(model):
        assert_dropped(*both(model, stack, stack.layers[0], lambda: model(**batch)))


@pytest.mark.parametrize("only", SUBLAYERS)
def test_the_output_of_a_sublayer(make_model, family, make_batch, residual, only):
    """On the residual path: norms are taken out, and all sublayers but one add nothing."""
    model = make_model(family, **QUIET | {"dropout": P}, residual=residual)
    batch = make_batch(family, [9, 9])
    found = 0
    for stack in stacks(model):
        layer = stack.layers[0]
        if getattr(layer, only, None) is None:
            continue
        found += 1
        for name, module in list(layer.named_modules()):
            if isinstance(module, nn.LayerNorm):
                layer.set_submodule(name, nn.Identity())
            others = [sublayer for sublayer in SUBLAYERS if sublayer != only]
            if name.startswith(tuple(others)) and name.endswith(("o_proj", "down_proj")):
                nn.init.zeros_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

        added = []
        layer.register_forward_hook(lambda _, inputs, output, added=added: added.append(output - inputs[0]))
        with torch.no_grad():
            model.eval()
            model(**batch)
            layer.train()  # nothing before it drops anything, so its input is the same
            model(**batch)
        assert_dropped(added[1], added[0])
    assert found == {"cross_attention": 1 if family == "encoder_decoder" else 0}.get(only, len(stacks(model)))


def test_the_weights_of_attention(make_model, family, make_batch):
    model = make_model(family, **QUIET | {"attention_dropout": P})
    model.set_attn_implementation("eager")
    batch = make_batch(family, [9, 9])
    for stack in stacks(model):
        for name in ("self_attention", "cross_attention"):
            attention = getattr(stack.layers[0], name)
            if attention is not None:
                trained, evaluated = both(model, attention, attention.weights, lambda: model(**batch))
                real = evaluated > 1e-6  # the others are masked
                assert_dropped(trained[real], evaluated[real], P)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_attention_drops_in_training_only(make_model, family, make_batch, attn_implementation):
    model = make_model(family, **QUIET | {"attention_dropout": P})
    model.set_attn_implementation(attn_implementation)
    batch = make_batch(family, [9, 9])
    for attention in (module for module in model.modules() if hasattr(module, "o_proj")):
        model.eval()
        expected, again = (seen(attention, lambda: model(**batch), "output") for _ in range(2))
        assert torch.equal(expected, again)
        attention.train()
        draws = torch.stack([seen(attention, lambda: model(**batch), "output") for _ in range(200)])
        assert not torch.equal(draws[0], draws[1])
        # The mean of the draws is what evaluation gives, within what so few draws allow.
        error = (draws.mean(0) - expected).abs() / (draws.std(0) / 200**0.5 + 1e-6)
        assert error.mean().item() < 1.5


@pytest.mark.parametrize("feed_forward", ["plain", "gated"])
def test_the_inner_activation(make_model, family, make_batch, feed_forward):
    overrides = QUIET | {"activation_dropout": P}
    model = make_model(family, **overrides, feed_forward=feed_forward, activation="gelu")
    batch = make_batch(family, [9, 9])
    for stack in stacks(model):
        inner = stack.layers[0].feed_forward
        assert_dropped(*both(model, inner, inner.down_proj, lambda: model(**batch)))
