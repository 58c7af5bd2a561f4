"""The makers of tiny.py as fixtures. A folder that uses them imports them into its conftest.py."""

from collections.abc import Callable
from typing import Any

import pytest
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
