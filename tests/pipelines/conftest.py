"""Tiny random encoder-decoders of several architectures, with tiny word tokenizers."""

from pathlib import Path

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from tiny import word_tokenizer
from triptych import TriptychConfig, TriptychForConditionalGeneration

POSITIONS = 16
ENGLISH = ["the", "a", "house", "dog", "cat", "is", "was", "red", "big", "small", "and", "or", "in", "on", ".", "?"]
GERMAN = ["das", "der", "ein", "Haus", "Hund", "Katze", "ist", "war", "rot", "klein", "und", "oder", "in", "auf", "."]


def marian(vocab_size: int, decoder_vocab_size: int | None = None) -> PreTrainedModel:
    separate = decoder_vocab_size is not None
    return MarianMTModel(
        MarianConfig(
            **_bart_like(vocab_size),
            forced_eos_token_id=None,
            decoder_vocab_size=decoder_vocab_size,
            share_encoder_decoder_embeddings=not separate,
            tie_word_embeddings=not separate,
        )
    )


def bart(vocab_size: int) -> PreTrainedModel:
    return BartForConditionalGeneration(BartConfig(**_bart_like(vocab_size), forced_eos_token_id=None))


def t5(vocab_size: int) -> PreTrainedModel:
    sizes = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 1, "initializer_factor": 8.0}
    return T5ForConditionalGeneration(T5Config(vocab_size=vocab_size, **sizes, **SPECIAL_TOKENS))


SPECIAL_TOKENS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2}


def _bart_like(vocab_size: int) -> dict[str, object]:
    sides = {
        f"{side}_{name}": n
        for side in ("encoder", "decoder")
        for name, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))
    }
    # The large initial weights make a random model answer differently to different inputs.
    return {
        **SPECIAL_TOKENS,
        **sides,
        "vocab_size": vocab_size,
        "d_model": 16,
        "max_position_embeddings": POSITIONS,
        "init_std": 1.0,
    }


def triptych(vocab_size: int, decoder_vocab_size: int | None = None) -> PreTrainedModel:
    config = TriptychConfig.from_preset(
        "tiny",
        vocab_size=vocab_size,
        decoder_vocab_size=decoder_vocab_size,
        share_encoder_decoder_embeddings=decoder_vocab_size is None,
        max_position_embeddings=POSITIONS,
        initializer="normal",
        initializer_range=1.0,
    )
    return TriptychForConditionalGeneration(config)


ARCHITECTURES = {"triptych": triptych, "marian": marian, "bart": bart, "t5": t5}
WITH_TWO_VOCABULARIES = {"triptych": triptych, "marian": marian}


def talkative(model: PreTrainedModel) -> PreTrainedModel:
    """Without the special tokens that a random model likes to repeat, and not ending at once."""
    model.generation_config.update(suppress_tokens=[0, 1, 2], min_new_tokens=2)
    return model.eval()


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer(ENGLISH)


@pytest.fixture
def german_tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer(GERMAN)


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    torch.manual_seed(0)
    return talkative(ARCHITECTURES[request.param](len(tokenizer)))


@pytest.fixture
def marian_model(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    torch.manual_seed(0)
    return talkative(marian(len(tokenizer)))


@pytest.fixture
def checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "checkpoint")
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture(params=WITH_TWO_VOCABULARIES)
def two_vocabulary_checkpoint(
    request: pytest.FixtureRequest,
    tokenizer: PreTrainedTokenizerFast,
    german_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> Path:
    torch.manual_seed(0)
    directory = tmp_path / "two-vocabularies"
    make = WITH_TWO_VOCABULARIES[request.param]
    talkative(make(len(tokenizer), decoder_vocab_size=len(german_tokenizer))).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    german_tokenizer.save_pretrained(directory / "target_tokenizer")
    return directory
