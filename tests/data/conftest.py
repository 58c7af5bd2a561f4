"""A word tokenizer small enough to check by hand, and a cache of `datasets` that the tests do not share."""

import datasets
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]


def word_tokenizer(words: str) -> PreTrainedTokenizerFast:
    """Ids from 4 on in the order of `words`; ends every text with </s> (3)."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *words.split()])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


@pytest.fixture
def english() -> PreTrainedTokenizerFast:
    return word_tokenizer("the house is small big")  # 4 5 6 7 8


@pytest.fixture
def german() -> PreTrainedTokenizerFast:
    return word_tokenizer("das Haus ist klein groß")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()
