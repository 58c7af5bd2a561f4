"""Tiny random models of every family and head, and tokenizers and token ids for them.

What tests of several folders share, and the programs that they start. pytest has tests/ on its path (pyproject.toml),
and so has a program that lies beside this file: both write `from tiny import make_model`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import triptych

PRESETS = {"triptych": "tiny", "triptych_encoder": "tiny-encoder", "triptych_decoder": "tiny-decoder"}
FAMILIES = {  # with the head that maps to a vocabulary
    "encoder_decoder": "TriptychForConditionalGeneration",
    "encoder": "TriptychEncoderForMaskedLM",
    "decoder": "TriptychDecoderForCausalLM",
}
HEADS = [name for name in triptych.__all__ if "For" in name]  # all classes with a loss
LABELS = 5  # of the heads that classify sequences or tokens
PAD, UNKNOWN, START, END, FIRST_WORD, VOCAB_SIZE = 0, 1, 2, 3, 5, 97  # token ids of the tiny presets
SPECIAL_TOKENS = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}  # ids 0 to 3


def model_class(kind: str) -> Any:
    """The class that `kind` names: by its own name, or as the one of a family ("decoder")."""
    return getattr(triptych, FAMILIES.get(kind, kind))


def make_config(kind: str, **overrides: Any) -> Any:
    """The tiny configuration of a family or of a head, without dropout."""
    config_class = model_class(kind).config_class
    fields: dict[str, Any] = {"dropout": 0.0, "attention_dropout": 0.0}
    if "ForSequence" in kind or "ForToken" in kind:
        fields["num_labels"] = LABELS
    return config_class.from_preset(PRESETS[config_class.model_type], **{**fields, **overrides})


def make_model(kind: str, seed: int = 0, std: float = 0.3, **overrides: Any) -> PreTrainedModel:
    """A tiny model of a family or with a head, in evaluation mode, every parameter random (biases and norms too)."""
    torch.manual_seed(seed)
    model = model_class(kind)(make_config(kind, **overrides))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=std).add_(float("norm" in name and name.endswith("weight")))
    return model.eval()


def words(*shape: int, seed: int = 0, vocab_size: int = VOCAB_SIZE) -> Tensor:
    """Random token ids that are not special, the same for the same seed."""
    return torch.randint(FIRST_WORD, vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def make_batch(family: str, lengths: Sequence[int], first_row: int = 0) -> dict[str, Tensor]:
    """Inputs and labels of a family, padded on the right to the longest of the rows, whose lengths are given."""

    def pad(rows: list[Tensor], value: int) -> Tensor:
        return pad_sequence(rows, batch_first=True, padding_value=value)

    rows = [words(length, seed=first_row + i) for i, length in enumerate(lengths)]
    labels = rows
    if family == "encoder_decoder":  # long sources have short targets
        labels = [words(12 - length, seed=100 + first_row + i) for i, length in enumerate(lengths)]
    if family == "encoder":  # every third token is asked for
        labels = [row.masked_fill(torch.arange(len(row)) % 3 > 0, -100) for row in rows]
    mask = pad([torch.ones_like(row) for row in rows], 0)
    return {"input_ids": pad(rows, PAD), "attention_mask": mask, "labels": pad(labels, -100)}


def word_tokenizer(vocabulary: Iterable[str]) -> PreTrainedTokenizerFast:
    """Splits at spaces; counts the words from 4 on, in the order given, and ends every text with </s> (3)."""
    ids = {word: number for number, word in enumerate([*SPECIAL_TOKENS.values(), *vocabulary])}
    backend = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    backend.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **SPECIAL_TOKENS)


def number_tokenizer() -> PreTrainedTokenizerFast:
    """The words "5" … "96", each its own id, as the tiny models count them; adds no special tokens."""
    special = [*SPECIAL_TOKENS.values(), "<mask>"]
    ids = {word: number for number, word in enumerate([*special, *map(str, range(FIRST_WORD, VOCAB_SIZE))])}
    backend = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, mask_token="<mask>", model_max_length=64, **SPECIAL_TOKENS
    )
