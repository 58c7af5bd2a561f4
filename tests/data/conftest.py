"""A word tokenizer small enough to check by hand, and a cache of `datasets` that the tests do not share."""

import datasets
import pytest
from transformers import PreTrainedTokenizerFast

from tiny import word_tokenizer


@pytest.fixture
def english() -> PreTrainedTokenizerFast:
    return word_tokenizer(["the", "house", "is", "small", "big"])  # 4 5 6 7 8


@pytest.fixture
def german() -> PreTrainedTokenizerFast:
    return word_tokenizer(["das", "Haus", "ist", "klein", "groß"])


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()
