"""Sentence pairs to token ids."""

import copy
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
OVERLONG = ("error", "truncate", "drop")
SAMPLE = 20  # targets that show what a tokenizer puts around them


def tokenize_pairs(
    dataset: "Dataset",
    tokenizer: "PreTrainedTokenizerBase",
    target_tokenizer: "PreTrainedTokenizerBase | None" = None,
    max_source_length: int | None = None,
    max_target_length: int | None = None,
    overlong: Literal["error", "truncate", "drop"] = "error",
) -> "Dataset":
    """Replaces the columns `source` and `target` by `input_ids`, `labels`, `source_length` and `target_length`.

    The tokenizers add their special tokens, to a target those that `tokenizer(text_target=...)` adds; the lengths
    count them. Every row of `labels` has the end token (`eos_token`, or `sep_token`), so that a model learns to stop.
    Where a tokenizer adds none, such as GPT-2's, it is appended here.

    Args:
        target_tokenizer: of the target language, where the vocabularies are separate; else `tokenizer` does both.
        max_source_length, max_target_length: what the model can take, in tokens; None: any length.
        overlong: what happens to a pair with a longer side: `error`, `truncate` the side (special tokens stay), or
            `drop` the pair. The last two log how many.

    Raises:
        ValueError: an overlong pair (row, counted from 1, with its lengths), or no pair is left; a tokenizer that
            cannot make labels: it has no end token, or begins each target with it, or knows one side only.
    """
    if overlong not in OVERLONG:
        raise ValueError(f"overlong={overlong!r} is unknown; choose from {', '.join(OVERLONG)}")
    target_encoder = target_tokenizer or tokenizer
    end = missing_end(target_encoder, dataset[:SAMPLE]["target"])
    sides = {
        "source": (Encoder(tokenizer), max_source_length, "input_ids"),
        "target": (Encoder(target_encoder, is_target=True, end=end), max_target_length, "labels"),
    }

    def encode(pairs: dict[str, list[str]]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {}
        for side, (encoder, _, name) in sides.items():
            columns[name] = encoder(pairs[side])
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
        for row, ids in zip(rows.tolist(), encoder(dataset.select(rows)[side][:], limit), strict=True):
            shortened[row] |= {name: ids, f"{side}_length": len(ids)}
    return encoded.map(lambda pair, row: shortened.get(row, pair), with_indices=True, desc="truncating")


@dataclass(frozen=True)
class Encoder:
    """One side of the pairs: texts to ids, special tokens included.

    Attributes:
        tokenizer: whose ids they are.
        is_target: whether the texts are targets, which some tokenizers write differently (`text_target`).
        end: ids to append to each text.
    """

    tokenizer: Any
    is_target: bool = False
    end: tuple[int, ...] = ()

    def __call__(self, texts: list[str], max_length: int | None = None) -> list[list[int]]:
        """Ids of each text; cut to `max_length` if that is given."""
        tokenizer, cut = self.tokenizer, {}
        if max_length is not None:
            cut = {"truncation": True, "max_length": max_length - len(self.end)}
            if tokenizer.is_fast:  # truncation is a state of a fast tokenizer, and is saved with it
                tokenizer = copy.deepcopy(tokenizer)
        texts_of_side = {"text_target" if self.is_target else "text": texts}
        # verbose=False: whether a pair is too long is decided here, by the model's limit.
        ids = tokenizer(**texts_of_side, return_attention_mask=False, verbose=False, **cut)["input_ids"]
        return [[*row, *self.end] for row in ids]


def around_targets(tokenizer: Any, texts: Iterable[str]) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer puts before and after every target; the first of `texts` that has tokens shows them.

    Raises:
        ValueError: no text has tokens.
    """
    for text in texts:
        bare, whole = (
            tokenizer(text_target=text, add_special_tokens=special, verbose=False)["input_ids"]
            for special in (False, True)
        )
        for start in range(len(whole) - len(bare) + 1):
            stop = start + len(bare)
            if bare and whole[start:stop] == bare:
                return whole[:start], whole[stop:]
    raise ValueError(
        f"the tokenizer {name_of(tokenizer)} has no tokens for any of the first targets; give another one"
    )


def name_of(tokenizer: Any) -> str:
    """What a message calls the tokenizer."""
    return tokenizer.name_or_path or type(tokenizer).__name__


def missing_end(tokenizer: Any, texts: Iterable[str]) -> tuple[int, ...]:
    """The end token, where the tokenizer does not put it after a target; else nothing.

    Raises:
        ValueError: see `tokenize_pairs`.
    """
    name = name_of(tokenizer)
    if hasattr(tokenizer, "tgt_vocab_file") and tokenizer.src_lang != tokenizer.tgt_lang:  # FSMT's
        raise ValueError(
            f"the tokenizer {name} spells sources only; triptych.tokenization.load_tokenizers gives the target's, too"
        )
    if hasattr(tokenizer, "_switch_to_target_mode") and getattr(tokenizer, "tgt_lang", name) is None:
        raise ValueError(f"the tokenizer {name} writes the target's language into each target; set its tgt_lang")
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if end is None:
        raise ValueError(f"the tokenizer {name} has neither eos_token nor sep_token, so no target would have an end")
    before, after = around_targets(tokenizer, texts)
    if end in before:
        raise ValueError(
            f"the tokenizer {name} begins each target with its end token, so every translation would end at once; "
            "turn that off, e.g. with add_bos_token=False, or give it a bos_token of its own"
        )
    if end in after:
        return ()
    logger.warning("the tokenizer %s does not end a target: its end token, id %d, is appended", name, end)
    return (end,)


def lengths(dataset: "Dataset", column: str) -> np.ndarray:
    """A column of integers as an array, without a Python object for each row."""
    values: np.ndarray = dataset.with_format("numpy", columns=[column])[column][:]
    return values
