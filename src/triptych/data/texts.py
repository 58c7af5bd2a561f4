"""Turning texts, or pairs of texts, into what a model reads; and telling which of them had to be cut."""

import copy
from collections.abc import Sequence
from typing import Any

from ..configuration.special_tokens import tokenizer_name


class TextEncoder:
    """Turns texts into the arguments of `forward`, special tokens included.

    Args:
        tokenizer: it is not changed.
        limit: the most tokens that the model can take; None: any number.
        has_segments: whether the model tells the two texts of a pair apart by `token_type_ids`.
    """

    def __init__(self, tokenizer: Any, limit: int | None = None, has_segments: bool = False) -> None:
        # A fast tokenizer remembers how it last cut a text, and would be saved with that.
        self.tokenizer, self.limit = copy.deepcopy(tokenizer), limit
        segments = has_segments and "token_type_ids" in tokenizer.model_input_names
        self.columns = ("input_ids", "token_type_ids") if segments else ("input_ids",)

    def __call__(self, texts: Sequence[str], others: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """Encodes texts, each together with its other text where there is one.

        Returns:
            `input_ids` and perhaps `token_type_ids`, a list of numbers for each text; and `is_cut`, whether the text
            had more tokens than the limit. Of a pair, the longer text is cut first.
        """
        given = {"text": list(texts)} | ({} if others is None else {"text_pair": list(others)})
        encoded = self.encode(given)
        is_cut = [self.limit is not None and len(row) > self.limit for row in encoded["input_ids"]]
        rows = [row for row, cut in enumerate(is_cut) if cut]
        if rows:
            shorter = self.encode({name: [values[row] for row in rows] for name, values in given.items()}, cut=True)
            for column, values in shorter.items():
                for row, value in zip(rows, values, strict=True):
                    encoded[column][row] = value
        return {**encoded, "is_cut": is_cut}

    def encode(self, given: dict[str, list[str]], cut: bool = False) -> dict[str, list[Any]]:
        """What the tokenizer makes of texts or pairs."""
        how = {"truncation": "longest_first", "max_length": self.limit} if cut else {"truncation": False}
        # verbose=False: the model's limit decides whether a text is too long, and not the tokenizer's.
        found = self.tokenizer(**given, **how, padding=False, verbose=False)
        return {column: [list(row) for row in found[column]] for column in self.columns}


def check_end_tokens(tokenizer: Any, encoder: TextEncoder, end: int | list[int] | None) -> None:
    """Checks that a tokenizer ends a text with the token whose state an encoder–decoder classifies.

    Raises:
        ValueError: it does not.
    """
    ends = {end} if isinstance(end, int) else set(end or ())
    if ends and not ends & set(encoder(["a"])["input_ids"][0]):
        raise ValueError(
            f"the tokenizer {tokenizer_name(tokenizer)} does not end a text with the end token (id "
            f"{', '.join(map(str, sorted(ends)))}), whose state an encoder-decoder classifies; give another tokenizer"
        )


def separates_pairs(encoder: TextEncoder) -> bool:
    """Whether the tokens of a pair show where its second text begins."""
    [whole] = encoder(["a"], ["a"])["input_ids"]
    bare = encoder.tokenizer(["a", " a"], add_special_tokens=False, verbose=False)["input_ids"]
    return len(whole) > sum(map(len, bare)) or len(encoder.columns) > 1
