"""Other people's libraries over our models. Each is optional: see `library` in tests/conftest.py."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from fixtures import causal_family, family, make_batch, make_config, make_model, words
from tiny import number_tokenizer


@pytest.fixture
def train(make_batch: Callable[..., Any]) -> Callable[..., list[float]]:
    """A few steps of plain training on one batch; the losses."""

    def run(model: torch.nn.Module, family: str, steps: int = 5, learning_rate: float = 1e-2) -> list[float]:
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
        model.train()
        losses = []
        for _ in range(steps):
            loss = model(**make_batch(family, [9, 5])).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        model.eval()
        return losses

    return run


@pytest.fixture
def logits(make_batch: Callable[..., Any]) -> Callable[..., torch.Tensor]:
    """What a model of the family says to one padded batch."""

    def run(model: PreTrainedModel, family: str) -> torch.Tensor:
        with torch.no_grad():
            return model(**make_batch(family, [9, 5])).logits

    return run


@pytest.fixture
def word_tokenizer() -> PreTrainedTokenizerFast:
    """The words "5" … "96", each its own id, as the tiny models count them."""
    return number_tokenizer()
