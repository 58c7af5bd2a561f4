"""Turning pairs of sentences into pairs of token ids."""

import copy
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .arrow import CHUNK, select_rows
from .cache import fingerprint_of_rows, mapped
from .targets import missing_end

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
OVERLONG = ("error", "truncate", "drop")
SAMPLE = 20  # number of targets that are looked at to see what a tokenizer writes around a target


def tokenize_pairs(
    dataset: "Dataset",
    tokenizer: "PreTrainedTokenizerBase",
    target_tokenizer: "PreTrainedTokenizerBase | None" = None,
    max_source_length: int | None = None,
    max_target_length: int | None = None,
    overlong: Literal["error", "truncate", "drop"] = "error",
) -> "Dataset":
    """Replaces the columns `source` and `target` by `input_ids`, `labels`, `source_length` and `target_length`.

    The tokenizers add their special tokens; to a target they add those of `tokenizer(text_target=...)`. The lengths
    are numbers of tokens, special tokens included. Every row of `labels` has the end token (`eos_token`, or
    `sep_token`), so that a model learns to stop. Where a tokenizer does not add it (GPT-2's), it is appended here.

    Args:
        target_tokenizer: the tokenizer of the target language, where the vocabularies are separate; None: `tokenizer`
            encodes both sides.
        max_source_length, max_target_length: the longest sides that the model can take, in tokens; None: any length.
        overlong: what happens to a pair with a longer side: `error`, `truncate` the side (special tokens stay), or
            `drop` the pair. The last two write a warning with the number of pairs.

    Raises:
        ValueError: a pair is too long (the message names the row, counted from 1, and its lengths); no pair is left;
            or a tokenizer cannot make labels, see `missing_end`.
    """
    if overlong not in OVERLONG:
        raise ValueError(f"overlong={overlong!r} is unknown; choose from {', '.join(OVERLONG)}")
    target_encoder = target_tokenizer or tokenizer
    end = missing_end(target_encoder, dataset[:SAMPLE]["target"])
    sides = (
        Side("source", "input_ids", Encoder(tokenizer), max_source_length),
        Side("target", "labels", Encoder(target_encoder, is_target=True, end=end), max_target_length),
    )

    def encode(pairs: dict[str, list[str]]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {}
        for side in sides:
            columns[side.ids] = side.encoder(pairs[side.texts])
            columns[side.length] = [len(row) for row in columns[side.ids]]
        return columns

    depends_on = ["pairs", *((side.encoder.tokenizer, side.encoder.end) for side in sides)]
    options = {"batched": True, "remove_columns": dataset.column_names, "desc": "tokenizing"}
    encoded = mapped(dataset, encode, depends_on, **options)
    too_long = np.zeros(len(encoded), dtype=bool)
    for side in sides:
        if side.limit is not None:
            too_long |= lengths(encoded, side.length) > side.limit
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
        return select_rows(encoded, ~too_long)
    return truncated(dataset, encoded, sides, depends_on)


@dataclass(frozen=True)
class Encoder:
    """Turns texts of one side into ids, special tokens included.

    Attributes:
        tokenizer: the tokenizer that encodes them.
        is_target: whether the texts are targets, which some tokenizers encode differently (`text_target`).
        end: ids that are appended to each text.
    """

    tokenizer: Any
    is_target: bool = False
    end: tuple[int, ...] = ()

    def __call__(self, texts: list[str], max_length: int | None = None) -> list[list[int]]:
        """The ids of each text, cut to `max_length` ids if that is given."""
        tokenizer, cut = self.tokenizer, {}
        if max_length is not None:
            cut = {"truncation": True, "max_length": max_length - len(self.end)}
            if tokenizer.is_fast:  # a fast tokenizer remembers the truncation, and would be saved with it
                tokenizer = copy.deepcopy(tokenizer)
        texts_of_side = {"text_target" if self.is_target else "text": texts}
        # verbose=False: the model's limit decides whether a pair is too long, and not the tokenizer's.
        ids = tokenizer(**texts_of_side, return_attention_mask=False, verbose=False, **cut)["input_ids"]
        return [[*row, *self.end] for row in ids]


@dataclass(frozen=True)
class Side:
    """One side of the pairs.

    Attributes:
        texts: the column of its texts.
        ids: the column of its ids.
        encoder: makes ids of texts.
        limit: the most tokens that the model can take; None: any number.
    """

    texts: str
    ids: str
    encoder: Encoder
    limit: int | None

    @property
    def length(self) -> str:
        """The column of its lengths."""
        return f"{self.texts}_length"


def truncated(dataset: "Dataset", encoded: "Dataset", sides: tuple[Side, ...], depends_on: list[Any]) -> "Dataset":
    """`encoded`, in which the rows that are too long are encoded again, with both sides cut to their limits.

    Args:
        depends_on: what decided `encoded`, beside the texts.
    """

    def shorten(batch: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        too_long = [
            place
            for place in range(len(numbers))
            if any(side.limit is not None and batch[side.length][place] > side.limit for side in sides)
        ]
        columns = {name: list(batch[name]) for side in sides for name in (side.ids, side.length)}
        if not too_long:
            return columns
        texts = dataset[[numbers[place] for place in too_long]]
        for side in sides:
            for place, ids in zip(too_long, side.encoder(texts[side.texts], side.limit), strict=True):
                columns[side.ids][place], columns[side.length][place] = ids, len(ids)
        return columns

    depends_on = [*depends_on, "truncated", fingerprint_of_rows(dataset), *(side.limit for side in sides)]
    return mapped(encoded, shorten, depends_on, with_indices=True, batched=True, desc="truncating")


def lengths(dataset: "Dataset", column: str) -> np.ndarray:
    """A column of integers as an array of shape (rows,), without a Python object for each row."""
    tables = dataset.select_columns([column]).with_format("arrow").iter(batch_size=CHUNK)
    return np.concatenate([table[column].to_numpy() for table in tables])
