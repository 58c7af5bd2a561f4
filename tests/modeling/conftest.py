"""Position schemes and residual paths to run a test with, ragged rows, and comparisons of tensors and gradients."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import tiny
from fixtures import causal_family, close, family, gradients, logits_of, make_batch, make_config, make_model, words

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


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The fields of one position scheme; a test that asks for it runs in all of them."""
    return SCHEMES[request.param]


@pytest.fixture(params=["post", "pre", "parallel", "parallel_norms"])
def residual(request: pytest.FixtureRequest) -> str:
    return request.param


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
def make_ragged() -> Callable[..., Ragged]:
    def make(*lengths: int, seed: int = 0) -> Ragged:
        return Ragged([tiny.words(length, seed=seed + i) for i, length in enumerate(lengths)])

    return make


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
def assert_close_trees() -> Callable[..., None]:
    """Two dictionaries of tensors, each relative to its size; some (a key's bias) are zero but for rounding."""

    def check(actual: dict[str, Tensor], expected: dict[str, Tensor], rtol: float = 1e-4) -> None:
        assert actual.keys() == expected.keys()
        largest = max(value.abs().max().item() for value in expected.values())
        for name, value in expected.items():
            error = (actual[name] - value).abs().max().item()
            assert error <= rtol * max(value.abs().max().item(), 3e-2 * largest), f"{name}: off by {error}"

    return check
