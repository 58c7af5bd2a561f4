"""Sentence pairs to token ids."""

import copy
import logging
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
OVERLONG = ("error", "truncate", "drop")


def tokenize_pairs(
    dataset: "Dataset",
    tokenizer: "PreTrainedTokenizerBase",
    target_tokenizer: "PreTrainedTokenizerBase | None" = None,
    max_source_length: int | None = None,
    max_target_length: int | None = None,
    overlong: Literal["error", "truncate", "drop"] = "error",
) -> "Dataset":
    """Replaces the columns `source` and `target` by `input_ids`, `labels`, `source_length` and `target_length`.

    The tokenizers add their special tokens (the end of the sentence on both sides); the lengths count them.

    Args:
        target_tokenizer: of the target language, where the vocabularies are separate; else `tokenizer` does both.
        max_source_length, max_target_length: what the model can take, in tokens; None: any length.
        overlong: what happens to a pair with a longer side: `error`, `truncate` the side (special tokens stay), or
            `drop` the pair. The last two log how many.

    Raises:
        ValueError: an overlong pair (row, counted from 1, with its lengths), or no pair is left.
    """
    if overlong not in OVERLONG:
        raise ValueError(f"overlong={overlong!r} is unknown; choose from {', '.join(OVERLONG)}")
    sides = {
        "source": (tokenizer, max_source_length, "input_ids"),
        "target": (target_tokenizer or tokenizer, max_target_length, "labels"),
    }

    def encode(pairs: dict[str, list[str]]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {}
        for side, (encoder, _, name) in sides.items():
            columns[name] = token_ids(encoder, pairs[side])
            columns[f"{side}_length"] = [len(row) for row in columns[name]]
        return columns

    encoded = dataset.map(encode, batched=True, remove_columns=dataset.column_names, desc="tokenizing")
    too_long = np.zeros(len(encoded), dtype=bool)
    for side, (_, limit, _) in sides.items():
        if limit is not None:
            too_long |= lengths(encoded, f"{side}_length") > limit
    rows = np.flatnonzero(too_long)
    if not len(rows):
        return encoded

    bounds = f"max_source_length={max_source_length}, max_target_length={max_target_length}"
    if overlong == "error":
        first = encoded[int(rows[0])]
        raise ValueError(
            f"row {rows[0] + 1} (the first of {len(rows)}) is too long: {first['source_length']} source and "
            f"{first['target_length']} target tokens, with {bounds}. Choose overlong='drop' or 'truncate', or a model "
            "with more positions"
        )
    logger.warning("%s: %d of %d pairs longer than %s", overlong, len(rows), len(encoded), bounds)
    if overlong == "drop":
        if len(rows) == len(encoded):
            raise ValueError(f"all {len(rows)} pairs are longer than {bounds}; nothing is left")
        return encoded.select(np.flatnonzero(~too_long))

    shortened: dict[int, dict[str, Any]] = {int(row): {} for row in rows}
    for side, (encoder, limit, name) in sides.items():
        for row, ids in zip(rows.tolist(), token_ids(encoder, dataset.select(rows)[side][:], limit), strict=True):
            shortened[row] |= {name: ids, f"{side}_length": len(ids)}
    return encoded.map(lambda pair, row: shortened.get(row, pair), with_indices=True, desc="truncating")


def token_ids(tokenizer: Any, texts: list[str], max_length: int | None = None) -> list[list[int]]:
    """Ids of each text, special tokens included; cut to `max_length` if that is given."""
    cut = {} if max_length is None else {"truncation": True, "max_length": max_length}
    if cut:
        tokenizer = copy.deepcopy(tokenizer)  # truncation is a state of a fast tokenizer, and is saved with it
    # verbose=False: whether a pair is too long is decided here, by the model's limit.
    ids: list[list[int]] = tokenizer(texts, return_attention_mask=False, verbose=False, **cut)["input_ids"]
    return ids


def lengths(dataset: "Dataset", column: str) -> np.ndarray:
    """A column of integers as an array, without a Python object for each row."""
    values: np.ndarray = dataset.with_format("numpy", columns=[column])[column][:]
    return values
