"""From documents to token ids: for a model that continues texts, and for one that fills in masked tokens."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..configuration.special_tokens import token_id_of, tokenizer_name
from .objectives.masked import NEVER
from .targets import around_targets

SAMPLES = ("a", "0", ".")  # texts that show which tokens a tokenizer writes around a text


@dataclass(frozen=True)
class CausalEncoder:
    """Turns documents into ids that begin with the start token and end with the end token.

    Every token of the text is then predicted, also the first one, and so is the end. A tokenizer that writes these
    tokens itself (Llama's writes the first one) writes each of them once. One without start token begins with its end
    token, as GPT-2 does.

    Raises:
        ValueError: the tokenizer has no token that ends a text.
    """

    tokenizer: Any

    def __post_init__(self) -> None:
        if token_id_of(self.tokenizer, "eos_token_id") is None:
            raise ValueError(
                f"the tokenizer {tokenizer_name(self.tokenizer)} has neither eos_token nor sep_token, so no document "
                'would have an end; give it one, e.g. tokenizer.add_special_tokens({"eos_token": "…"})'
            )

    def __call__(self, texts: list[str]) -> list[list[int]]:
        """The ids of each document."""
        before, after = self.missing()
        # verbose=False: documents are cut later, so the tokenizer need not warn that they are long.
        encoded = self.tokenizer(texts, return_attention_mask=False, verbose=False)["input_ids"]
        return [[*before, *ids, *after] for ids in encoded]

    def missing(self) -> tuple[list[int], list[int]]:
        """The start token and the end token, each if the tokenizer does not write it."""
        end = token_id_of(self.tokenizer, "eos_token_id")
        begin = token_id_of(self.tokenizer, "bos_token_id")
        before, after = around_targets(self.tokenizer, SAMPLES)
        wanted = (end if begin is None else begin, before), (end, after)
        first, last = ([] if token is None or token in written else [token] for token, written in wanted)
        return first, last


@dataclass(frozen=True)
class MaskedEncoder:
    """Turns documents into rows for `MaskedLMCollator`, and says where words begin.

    Raises:
        ValueError: the tokenizer is not a fast one, or has no mask token.
    """

    tokenizer: Any

    def __post_init__(self) -> None:
        name = tokenizer_name(self.tokenizer)
        if not self.tokenizer.is_fast:
            raise ValueError(f"the tokenizer {name} does not say where words begin; a fast one does")
        if self.tokenizer.mask_token_id is None:
            raise ValueError(
                f"the tokenizer {name} has no mask_token, by which tokens are hidden; give it one, e.g. "
                'tokenizer.add_special_tokens({"mask_token": "…"})'
            )

    def pieces(self, texts: list[str], block_size: int) -> dict[str, list[Any]]:
        """Cuts each document into rows of at most `block_size` tokens, special tokens included; no token is lost.

        Returns:
            `input_ids`, `word_starts` (see `MaskedLMCollator`), and `document`: the number of the text of each row.

        Raises:
            ValueError: `block_size` leaves no room for a token of the text.
        """
        self.check(block_size)
        # A fast tokenizer remembers how it truncates, and would be saved with it.
        tokenizer = copy.deepcopy(self.tokenizer)
        encodings = tokenizer(
            texts, truncation=True, max_length=block_size, return_overflowing_tokens=True, verbose=False
        )
        return {
            "input_ids": [encoding.ids for encoding in encodings.encodings],
            "word_starts": [word_starts(encoding) for encoding in encodings.encodings],
            "document": encodings["overflow_to_sample_mapping"],
        }

    def packed(self, texts: list[str], block_size: int) -> dict[str, list[Any]]:
        """Lays documents one behind the other, with the end of a row between two, and cuts them into rows (Liu et al.
        2019, section 4.2: an extra separator stands between documents).

        Every row but the last one has exactly `block_size` tokens, special tokens included. No token is lost.

        Returns:
            `input_ids` and `word_starts`; see `MaskedLMCollator`.

        Raises:
            ValueError: `block_size` leaves no room for a token of the text.
        """
        self.check(block_size)
        before, after = around_targets(self.tokenizer, SAMPLES)
        encodings = self.tokenizer(texts, add_special_tokens=False, verbose=False).encodings
        ids: list[int] = []
        starts: list[int] = []
        for encoding in encodings:
            ids += [*encoding.ids, *after]
            starts += [*word_starts(encoding), *[NEVER] * len(after)]
        size, end = block_size - len(before) - len(after), len(ids) - len(after)  # the last row has its own end
        bounds = [slice(start, min(start + size, end)) for start in range(0, max(end, 1), size)]
        return {
            "input_ids": [[*before, *ids[bound], *after] for bound in bounds],
            "word_starts": [[*[NEVER] * len(before), *starts[bound], *[NEVER] * len(after)] for bound in bounds],
        }

    def check(self, block_size: int) -> None:
        """Raises ValueError if `block_size` leaves no room for a token of the text."""
        special = self.tokenizer.num_special_tokens_to_add()
        if block_size <= special:
            raise ValueError(f"block_size={block_size} must be at least {special + 1}, to hold a token of the text")

    def sentences(self, texts: list[str]) -> dict[str, list[list[list[int]]]]:
        """Splits each document at its line ends into sentences, without special tokens; blank lines are left out.

        Returns:
            `tokens` and `word_starts`: document → sentences → tokens.
        """
        columns: dict[str, list[list[list[int]]]] = {"tokens": [], "word_starts": []}
        for text in texts:
            lines = [line for line in text.split("\n") if line.strip()]
            found = self.tokenizer(lines, add_special_tokens=False, verbose=False).encodings if lines else []
            found = [encoding for encoding in found if encoding.ids]
            columns["tokens"].append([encoding.ids for encoding in found])
            columns["word_starts"].append([word_starts(encoding) for encoding in found])
        return columns

    def ordinary_ids(self) -> np.ndarray:
        """The ids of all tokens that are not special: those that may stand in for others."""
        return np.setdiff1d(np.array([*self.tokenizer.get_vocab().values()]), self.tokenizer.all_special_ids)


def word_starts(encoding: Any) -> list[int]:
    """1 at the first token of each word, 0 at its other tokens, and -1 at special tokens, for an encoded text.

    What is a word is decided by the pre-tokenizer: in BERT, what stands between spaces and punctuation marks; in
    GPT-2, letters with the space before them.
    """
    words: Sequence[int | None] = encoding.word_ids
    before = [None, *words[:-1]]
    starts = [NEVER if word is None else int(word != last) for word, last in zip(words, before, strict=True)]
    return [NEVER if special else start for special, start in zip(encoding.special_tokens_mask, starts, strict=True)]
