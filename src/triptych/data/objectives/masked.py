"""Masked language modelling (Devlin et al. 2018, section 3.1), with new masks in every epoch (Liu et al. 2019)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..collators import IGNORED, PaddingCollator
from .draws import row_draws
from .masking import UNITS, chosen, tokens_of

MASKED, REPLACED = 0.8, 0.1  # of the chosen tokens; the others stay as they are
NEVER = -1  # the value of `word_starts` of a token that is never masked


class MaskedLMCollator(PaddingCollator):
    """Pads rows, masks a part of their tokens, and asks for these.

    Called with a list of rows it returns LongTensors of the shape (rows, longest): `input_ids`; `attention_mask`;
    `labels`, the original tokens where they are asked for and -100 elsewhere; and `token_type_ids` where the rows have
    them. Of the chosen tokens 80 % become the mask token, 10 % a random token, and 10 % stay. The choice depends on
    the seed, the epoch (see `set_epoch`) and the number of the row alone.

    A row has the columns `input_ids`; `word_starts`, which is 1 at the first token of a word, 0 at its other tokens,
    and -1 at tokens that are never masked, such as [CLS]; and `example`, its number in the data.

    Args:
        mask_token_id: the token in the place of others.
        words: the ids among which random tokens are drawn: all but the special ones.
        pad_token_id: fills `input_ids`.
        probability: the part of the tokens that are chosen.
        masking: what is chosen as a whole: `token`, `word`, or `span` (see `masking.spans_as_units`).
        seed: decides the choice.
        numbers: further columns of numbers, as in `PaddingCollator`.
        has_types: whether the rows have `token_type_ids`.

    Raises:
        ValueError: `probability` is not in (0, 1], or `masking` is another word.
    """

    def __init__(
        self,
        mask_token_id: int,
        words: Sequence[int] | np.ndarray,
        pad_token_id: int,
        probability: float = 0.15,
        masking: str = "token",
        seed: int = 0,
        numbers: Mapping[str, int] | None = None,
        has_types: bool = False,
    ) -> None:
        if not 0 < probability <= 1:
            raise ValueError(f"mlm_probability={probability} must be in (0, 1]")
        if masking not in UNITS:
            raise ValueError(f"masking={masking!r} is unknown; choose one of {', '.join(UNITS)}")
        types = {"token_type_ids": 0} if has_types else {}
        super().__init__({"input_ids": pad_token_id, **types}, {"input_ids": "attention_mask"}, numbers)
        self.mask_token_id, self.words = mask_token_id, np.asarray(words)
        self.probability, self.masking, self.seed, self.epoch = probability, masking, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Fixes the masks, by the seed and `epoch` alone."""
        self.epoch = epoch

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        batch = super().__call__(examples)
        labels = torch.full_like(batch["input_ids"], IGNORED)
        rows, columns, is_first = self.maskable(examples)
        if len(rows):
            places, inputs = self.masked(batch["input_ids"].numpy(), rows, columns, is_first, examples)
            labels[places] = batch["input_ids"][places]
            batch["input_ids"][places] = torch.from_numpy(inputs)
        return {**batch, "labels": labels}

    def maskable(self, examples: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The row, the column, and whether it begins a word, of each token that may be masked: three times (N,)."""
        starts = [np.asarray(example["word_starts"]) for example in examples]
        if not starts:
            return (np.zeros(0, dtype=np.int64),) * 3
        sizes = [len(row) for row in starts]
        rows, flat = np.repeat(np.arange(len(starts)), sizes), np.concatenate(starts)
        columns = np.concatenate([np.arange(size) for size in sizes])
        # What follows the beginning of a row, or a special token, begins a word, even if a longer word was cut there.
        begins = (flat == 1) | (columns == 0) | (np.roll(flat, 1) == NEVER) | (self.masking == "token")
        allowed = flat != NEVER
        return rows[allowed], columns[allowed], begins[allowed]

    def masked(
        self,
        input_ids: np.ndarray,
        rows: np.ndarray,
        columns: np.ndarray,
        is_first: np.ndarray,
        examples: Sequence[Mapping[str, Any]],
    ) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """The places of the chosen tokens, (rows, columns), and what stands there in the input."""
        numbers, sizes = [example["example"] for example in examples], np.bincount(rows, minlength=len(examples))
        # A row draws one number for itself, and four for each token.
        draws = row_draws(self.seed, self.epoch, numbers, 1 + 4 * sizes)
        of_row = np.cumsum(1 + 4 * sizes) - (1 + 4 * sizes)  # the place of the row's own number
        place = of_row[rows] + 1 + 4 * (np.arange(len(rows)) - (np.cumsum(sizes) - sizes)[rows])
        keys, lengths, kinds, replacements = (draws[place + which] for which in range(4))

        tokens = tokens_of(rows, is_first)
        units = UNITS[self.masking](tokens, keys, lengths)
        is_chosen = chosen(tokens, units, self.probability, draws[of_row])
        kind = kinds[units.decides][is_chosen]
        places = rows[is_chosen], columns[is_chosen]
        others = self.words[(replacements[is_chosen] * len(self.words)).astype(np.int64)]
        inputs = np.select([kind < MASKED, kind < MASKED + REPLACED], [self.mask_token_id, others], input_ids[places])
        return places, inputs
