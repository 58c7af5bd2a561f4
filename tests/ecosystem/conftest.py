"""Other people's libraries over our models. Each is optional: see `library` in tests/conftest.py."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

# The models and batches of tests/modeling; pytest offers a directory's fixtures to that directory only.
MODELING = Path(__file__).parents[1] / "modeling" / "conftest.py"
spec = importlib.util.spec_from_file_location("triptych_modeling_fixtures", MODELING)
modeling = importlib.util.module_from_spec(spec)
spec.loader.exec_module(modeling)

FAMILIES = modeling.FAMILIES
one_thread = modeling.one_thread
family, causal_family = modeling.family, modeling.causal_family
make_config, make_model = modeling.make_config, modeling.make_model
words, make_batch = modeling.words, modeling.make_batch


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
    special = {"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, "<mask>": 4}
    tokenizer = Tokenizer(models.WordLevel({**special, **{str(i): i for i in range(5, 97)}}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
        model_max_length=64,
    )
