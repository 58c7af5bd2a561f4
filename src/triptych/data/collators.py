"""Lists of examples to padded tensors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

IGNORED = -100  # label that no loss counts


class TranslationCollator:
    """Pads tokenized pairs to the longest of the batch.

    Args:
        pad_token_id: fills `input_ids`; labels are filled with -100.

    Called with a list of {"input_ids": list[int], "labels": list[int]} it returns LongTensors `input_ids` and
    `attention_mask`, shape (rows, longest source), and `labels`, shape (rows, longest target).

    An empty list becomes one row with one visible token and one ignored label: a process without pairs of its own
    runs the model as often as the others, and adds exactly 0 to a loss that is a sum over labels.
    """

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, pairs: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        sources = [pair["input_ids"] for pair in pairs] or [[self.pad_token_id]]
        targets = [pair["labels"] for pair in pairs] or [[IGNORED]]
        return {
            "input_ids": pad(sources, self.pad_token_id),
            "attention_mask": pad([[1] * len(source) for source in sources], 0),
            "labels": pad(targets, IGNORED),
        }


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Rows of any lengths as one LongTensor (rows, longest), filled up on the right."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.long)
