"""Lists of examples to padded tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

IGNORED = -100  # a label that no loss counts


class PaddingCollator:
    """Makes a batch of examples: pads every column of sequences to its longest row, and stacks the other columns.

    Called with a list of rows it returns LongTensors for columns of `sequences`, of the shape (rows, longest), and of
    `numbers`, of the shape (rows,); and FloatTensors for columns of `classes`, (rows, number of classes), and of
    `floats`, (rows, 1).

    An empty list becomes one row: one token with its fill in each sequence, and the fill of each number. With fills of
    -100 for the labels, a process that has no rows runs the model as often as the others, and adds exactly 0 to a loss
    that is a sum over labels. No float stands for an absent label, so columns of `classes` and `floats` have no rows
    then: the task has to add 0 for such a piece.

    Args:
        sequences: column of token lists → what fills it up on the right.
        masks: column of `sequences` → the name of its mask, which is 1 at tokens and 0 at what was filled up.
        numbers: column of numbers → the number in the row that stands for an empty list.
        classes: column of lists of classes → the number of all classes. The result is 1 at the classes of the list.
        floats: columns of numbers that are no classes.
        alone: column of `sequences` → the token of the row that stands for an empty list; by default its fill.
    """

    def __init__(
        self,
        sequences: Mapping[str, int],
        masks: Mapping[str, str] | None = None,
        numbers: Mapping[str, int] | None = None,
        classes: Mapping[str, int] | None = None,
        floats: Sequence[str] = (),
        alone: Mapping[str, int] | None = None,
    ) -> None:
        self.sequences, self.masks, self.numbers = dict(sequences), dict(masks or {}), dict(numbers or {})
        self.classes, self.floats, self.alone = dict(classes or {}), tuple(floats), dict(alone or {})

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        batch: dict[str, Tensor] = {}
        for column, fill in self.sequences.items():
            rows = [example[column] for example in examples] or [[self.alone.get(column, fill)]]
            batch[column] = pad(rows, fill)
            if column in self.masks:
                batch[self.masks[column]] = pad([[1] * len(row) for row in rows], 0)
        for column, fill in self.numbers.items():
            batch[column] = torch.tensor([example[column] for example in examples] or [fill], dtype=torch.long)
        for column, number in self.classes.items():
            batch[column] = torch.zeros(len(examples), number)
            for row, example in zip(batch[column], examples, strict=True):
                row[example[column]] = 1.0
        for column in self.floats:
            values = [example[column] for example in examples]
            batch[column] = torch.tensor(values, dtype=torch.float32).view(-1, 1)
        return batch


class TranslationCollator(PaddingCollator):
    """Pads tokenized pairs to the longest of the batch.

    Called with a list of {"input_ids": list[int], "labels": list[int]} it returns LongTensors `input_ids` and
    `attention_mask` of the shape (rows, longest source), and `labels` of the shape (rows, longest target).

    Args:
        pad_token_id: fills `input_ids`; labels are filled with -100.
    """

    def __init__(self, pad_token_id: int) -> None:
        super().__init__({"input_ids": pad_token_id, "labels": IGNORED}, masks={"input_ids": "attention_mask"})


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Returns rows of any lengths as one LongTensor (rows, longest), filled up with `value` on the right."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.long)
