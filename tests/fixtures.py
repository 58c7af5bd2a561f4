"""The makers of tiny.py as fixtures, and comparisons. A folder that uses them imports them into its conftest.py."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import tiny


@pytest.fixture(params=tiny.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """The name of a family; a test that asks for it runs in all of them."""
    return request.param


@pytest.fixture(params=["encoder_decoder", "decoder"])
def causal_family(request: pytest.FixtureRequest) -> str:
    """The name of a family that generates text."""
    return request.param


@pytest.fixture
def make_config() -> Callable[..., Any]:
    return tiny.make_config


@pytest.fixture
def make_model() -> Callable[..., PreTrainedModel]:
    return tiny.make_model


@pytest.fixture
def words() -> Callable[..., Tensor]:
    return tiny.words


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Tensor]]:
    return tiny.make_batch


@pytest.fixture
def close() -> Callable[..., None]:
    """Two tensors, up to the order of sums in float32."""

    def check(actual: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(actual, expected, atol=2e-5, rtol=1e-4)

    return check


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
