"""The forms of output and the number formats that every library over transformers asks for."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

LAYERS, HEADS, WIDTH = 2, 4, 32
STACKS = {  # prefix of its outputs, and the length of the batch's longest row on that side
    "encoder_decoder": {"encoder_": 9, "decoder_": 7},
    "encoder": {"": 9},
    "decoder": {"": 9},
}


def batch_of(make_batch, family: str) -> dict[str, torch.Tensor]:
    return make_batch(family, [9, 5])


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_hidden_states(make_model, make_batch, family, implementation: str):
    model = make_model(family, attn_implementation=implementation)
    output = model(**batch_of(make_batch, family), output_hidden_states=True)
    for prefix, length in STACKS[family].items():
        states = output[f"{prefix}hidden_states"]
        assert [tuple(state.shape) for state in states] == [(2, length, WIDTH)] * (LAYERS + 1)
    last = states[-1]  # of the stack under the head, behind its final norm
    if family != "encoder":  # whose head is deeper than one map
        torch.testing.assert_close(model.lm_head(last * model.config.logit_scale), output.logits)


def test_attentions_are_distributions(make_model, make_batch, family):
    model = make_model(family, attn_implementation="eager")
    batch = batch_of(make_batch, family)
    output = model(**batch, output_attentions=True)
    shapes = {f"{prefix}attentions": (length, length) for prefix, length in STACKS[family].items()}
    if family == "encoder_decoder":
        shapes["cross_attentions"] = (7, 9)
    for name, shape in shapes.items():
        assert len(output[name]) == LAYERS
        for weights in output[name]:
            assert weights.shape == (2, HEADS, *shape)
            torch.testing.assert_close(weights.sum(-1), torch.ones(2, HEADS, shape[0]))
    padding = batch["attention_mask"] == 0
    over_source = output["cross_attentions" if family == "encoder_decoder" else "attentions"][0]
    assert over_source.transpose(1, 3)[padding].abs().max() == 0


def test_outputs_not_asked_for_are_not_there(make_model, make_batch, family):
    output = make_model(family)(**batch_of(make_batch, family))
    assert not [name for name in output if "attentions" in name or "hidden_states" in name]


@pytest.mark.parametrize("where", ["argument", "configuration"])
def test_a_tuple_in_place_of_names(make_model, make_batch, family, where: str):
    model = make_model(family)
    batch = batch_of(make_batch, family)
    expected = model(**batch, use_cache=False).to_tuple()
    if where == "configuration":
        model.config.return_dict = False
    options = {"return_dict": False} if where == "argument" else {}
    output = model(**batch, use_cache=False, **options)
    assert type(output) is tuple
    assert len(output) == len(expected) > 1
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(output, expected, strict=True))


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "relative"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.15), (torch.float16, 0.02)])
def test_half_precision(make_model, family, positions: str, dtype, tolerance: float, logits, tmp_path: Path):
    model = make_model(family, positions=positions)
    model.save_pretrained(tmp_path / "float32")
    half = type(model).from_pretrained(tmp_path / "float32", dtype=dtype).eval()
    assert {parameter.dtype for parameter in half.parameters()} == {dtype}
    low, high = logits(half, family), logits(model, family)
    assert low.dtype == dtype
    assert ((low - high).norm() / high.norm()).item() < tolerance

    half.save_pretrained(tmp_path / "half")
    auto = type(model).from_pretrained(tmp_path / "half", dtype="auto").eval()
    assert auto.dtype == dtype
    assert torch.equal(logits(auto, family), low)
    body = AutoModel.from_pretrained(tmp_path / "half", dtype=torch.float32)
    assert body.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_generation_in_half_precision(make_model, causal_family, words, dtype):
    model = make_model(causal_family).to(dtype)
    tokens = model.generate(words(2, 6), max_new_tokens=5, min_new_tokens=5, do_sample=False)
    cacheless = model.generate(words(2, 6), max_new_tokens=5, min_new_tokens=5, do_sample=False, use_cache=False)
    assert tokens.shape == cacheless.shape
    assert torch.equal(tokens[:, :-4], cacheless[:, :-4])  # the first new token; rounding may part them later


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_in_half_precision(make_model, make_batch, family, dtype):
    model = make_model(family).to(dtype)
    model(**batch_of(make_batch, family)).loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.dtype == dtype and gradient.isfinite().all() for gradient in gradients)
