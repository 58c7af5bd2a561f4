"""Tiny random models of the three families, in every position scheme and residual form."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from triptych import (
    TriptychConfig,
    TriptychDecoderConfig,
    TriptychDecoderForCausalLM,
    TriptychEncoderConfig,
    TriptychEncoderForMaskedLM,
    TriptychForConditionalGeneration,
)

SCHEMES: dict[str, dict[str, Any]] = {
    "none": {"positions": "none"},
    "learned": {"positions": "learned"},
    "learned-offset": {"positions": "learned", "position_offset": 2},
    "sinusoidal": {"positions": "sinusoidal"},
    "sinusoidal-concatenated": {"positions": "sinusoidal", "sinusoid_layout": "concatenated"},
    "sinusoidal-tensor2tensor": {
        "positions": "sinusoidal",
        "sinusoid_layout": "tensor2tensor",
        "position_offset": 2,
    },
    "rotary": {"positions": "rotary"},
    "rotary-partial": {"positions": "rotary", "rotary_dim": 4},
    "relative": {"positions": "relative", "relative_num_buckets": 8, "relative_max_distance": 12},
    "alibi": {"positions": "alibi"},
}
FAMILIES = {
    "encoder_decoder": (TriptychForConditionalGeneration, TriptychConfig, "tiny"),
    "encoder": (TriptychEncoderForMaskedLM, TriptychEncoderConfig, "tiny-encoder"),
    "decoder": (TriptychDecoderForCausalLM, TriptychDecoderConfig, "tiny-decoder"),
}
FIRST_WORD = 5  # ids below are special


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Tiny tensors are fastest on one thread, and sums have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The fields of one position scheme; a test that asks for it runs in all of them."""
    return SCHEMES[request.param]


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["encoder_decoder", "decoder"])
def causal_family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["post", "pre", "parallel", "parallel_norms"])
def residual(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def make_config() -> Callable[..., Any]:
    """The tiny configuration of a family, without dropout."""

    def make(family: str, **overrides: Any) -> Any:
        _, config_class, preset = FAMILIES[family]
        return config_class.from_preset(preset, **{"dropout": 0.0, "attention_dropout": 0.0, **overrides})

    return make


@pytest.fixture
def make_model(make_config: Callable[..., Any]) -> Callable[..., Any]:
    """The model with a head of a family, in evaluation mode, every parameter random (biases and norms too)."""

    def make(family: str, seed: int = 0, **overrides: Any) -> PreTrainedModel:
        torch.manual_seed(seed)
        model = FAMILIES[family][0](make_config(family, **overrides))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.normal_(std=0.3).add_(float("norm" in name and name.endswith("weight")))
        return model.eval()

    return make


@pytest.fixture
def words() -> Callable[..., Tensor]:
    """Random token ids that are not special."""

    def draw(rows: int, length: int, seed: int = 0, vocab_size: int = 97) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(FIRST_WORD, vocab_size, (rows, length), generator=generator)

    return draw


@dataclass
class Ragged:
    """Rows of different lengths and how to pad them."""

    rows: list[Tensor]

    def padded(self, side: str, value: int = 0) -> tuple[Tensor, Tensor]:
        """(B, longest) ids and their mask."""
        longest = max(len(row) for row in self.rows)
        ids = torch.full((len(self.rows), longest), value)
        mask = torch.zeros(len(self.rows), longest, dtype=torch.long)
        for i, row in enumerate(self.rows):
            at = slice(longest - len(row), None) if side == "left" else slice(0, len(row))
            ids[i, at], mask[i, at] = row, 1
        return ids, mask


@pytest.fixture
def make_ragged(words: Callable[..., Tensor]) -> Callable[..., Ragged]:
    def make(*lengths: int, seed: int = 0) -> Ragged:
        return Ragged([words(1, length, seed=seed + i)[0] for i, length in enumerate(lengths)])

    return make


@pytest.fixture
def make_batch(words: Callable[..., Tensor]) -> Callable[..., dict[str, Tensor]]:
    """Inputs and labels of a family, padded on the right to the longest of the given rows."""

    def pad(rows: list[Tensor], value: int) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

    def make(family: str, lengths: list[int], first_row: int = 0) -> dict[str, Tensor]:
        rows = [words(1, length, seed=first_row + i)[0] for i, length in enumerate(lengths)]
        labels = rows
        if family == "encoder_decoder":  # long sources have short targets
            labels = [words(1, 12 - length, seed=100 + first_row + i)[0] for i, length in enumerate(lengths)]
        if family == "encoder":  # every third token is asked for
            labels = [row.masked_fill(torch.arange(len(row)) % 3 > 0, -100) for row in rows]
        mask = pad([torch.ones_like(row) for row in rows], 0)
        return {"input_ids": pad(rows, 0), "attention_mask": mask, "labels": pad(labels, -100)}

    return make


@pytest.fixture
def close() -> Callable[..., None]:
    """Two tensors, up to the order of sums in float32."""

    def check(actual: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(actual, expected, atol=2e-5, rtol=1e-4)

    return check


@pytest.fixture
def flash_stand_in() -> Iterator[Callable[..., None]]:
    """Lets a model attend with the given function as if it were flash attention's, which takes no mask."""
    known = ALL_ATTENTION_FUNCTIONS._local_mapping
    before = dict(known)

    def install(model: PreTrainedModel, kernel: Callable[..., Any]) -> None:
        model.config._attn_implementation_internal = "flash_attention_2"
        ALL_ATTENTION_FUNCTIONS["flash_attention_2"] = kernel

    yield install
    known.clear()
    known.update(before)


@pytest.fixture
def flex_kernels() -> Iterator[None]:
    """One flex kernel for each shape: those of torch 2.13 for shapes that vary do not compile on a CPU."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False):
        yield
    torch._dynamo.reset()


@pytest.fixture
def gradients() -> Callable[..., dict[str, Tensor]]:
    """The gradients of a loss, by parameter; the model's own are cleared before and kept for nobody."""

    def compute(model: PreTrainedModel, loss: Tensor) -> dict[str, Tensor]:
        model.zero_grad()
        loss.backward()
        found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        return found

    return compute


@pytest.fixture
def assert_close_trees() -> Callable[..., None]:
    """Two dictionaries of tensors, each relative to its size; some (a key's bias) are zero but for rounding."""

    def check(actual: dict[str, Tensor], expected: dict[str, Tensor], rtol: float = 1e-4) -> None:
        assert actual.keys() == expected.keys()
        largest = max(value.abs().max().item() for value in expected.values())
        for name, value in expected.items():
            error = (actual[name] - value).abs().max().item()
            assert error <= rtol * max(value.abs().max().item(), 3e-2 * largest), f"{name}: off by {error}"

    return check


@pytest.fixture
def logits_of() -> Callable[..., Tensor]:
    """Logits of a model of any family; the second pair of arguments goes to the decoder of an encoder-decoder."""

    def run(
        model: PreTrainedModel,
        ids: Tensor,
        mask: Tensor | None = None,
        target: Tensor | None = None,
        target_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        if model.config.is_encoder_decoder:
            kwargs |= {"decoder_input_ids": target, "decoder_attention_mask": target_mask}
        return model(input_ids=ids, attention_mask=mask, **kwargs).logits

    return run
