"""Checkpoints of this package with a tokenizer, tiny and random."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel

import tiny
from triptych.tokenization import save_tokenizers

Saved = Callable[..., tuple[PreTrainedModel, Path]]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """A tiny model, and the directory in which it and a tokenizer of its words are saved."""

    def save(kind: str, tokenizers: int = 1, **fields: Any) -> tuple[PreTrainedModel, Path]:
        model = tiny.make_model(kind, **fields)
        model.save_pretrained(tmp_path / "model", code=False)
        if tokenizers:
            save_tokenizers(tmp_path / "model", *[tiny.number_tokenizer() for _ in range(tokenizers)])
        return model, tmp_path / "model"

    return save
