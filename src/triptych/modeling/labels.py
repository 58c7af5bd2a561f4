"""Labels: which of them count, and how inputs and labels of a language model are shifted against each other.

Shapes: B batch, T positions.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .documents import starts

IGNORED = -100  # the label of a position that predicts nothing


def count_labels(labels: Tensor) -> Tensor:
    """The number of labels that count, which are all but -100: (…) → scalar."""
    return (labels != IGNORED).sum()


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Checks that every label is -100 or a class. Only labels on the CPU are checked: accelerators report wrong ones.

    A compiled model does not check the labels, because it cannot read them.

    Raises:
        IndexError: a label is neither -100 nor in [0, num_classes).
    """
    if labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    wrong = labels[((labels < 0) & (labels != IGNORED)) | (labels >= num_classes)]
    if len(wrong):
        raise IndexError(
            f"labels must be {IGNORED} or lie in [0, {num_classes}), got {wrong[0].item()}; "
            "check that the tokenizer, or num_labels, fits the data"
        )


def next_token_labels(labels: Tensor, document_ids: Tensor | None = None) -> Tensor:
    """The label of position t becomes the token at t + 1, if it is in the same document: (B, T) → (B, T)."""
    if document_ids is not None:
        labels = labels.masked_fill(starts(document_ids), IGNORED)
    return F.pad(labels, (0, 1), value=IGNORED)[..., 1:]


def last_labels(labels: Tensor, pad_token_id: int) -> Tensor:
    """The last label of each row, with which transformers' mBART and FSMT start the decoder: (B, T) → (B, 1).

    As in transformers, this is the label at position n - 1 of a row in which n labels are neither -100 nor padding. If
    no -100 and no padding stands before the last of these labels, it is that label.
    """
    number = ((labels != IGNORED) & (labels != pad_token_id)).sum(-1, keepdim=True)
    return labels.gather(-1, (number - 1).clamp(min=0))


def shift_right(labels: Tensor, start_token_id: int, pad_token_id: int, document_ids: Tensor | None = None) -> Tensor:
    """The decoder's input for given labels, the "outputs (shifted right)" of Figure 1: (B, T) → (B, T).

    Every row and every document begins with the start token. A label of -100 becomes padding.
    """
    shifted = F.pad(labels, (1, 0), value=start_token_id)[..., :-1]
    if document_ids is not None:
        shifted = shifted.masked_fill(starts(document_ids), start_token_id)
    return shifted.masked_fill(shifted == IGNORED, pad_token_id)


def inside(positions: Tensor, tokens: Tensor) -> Tensor:
    """Replaces positions (B,) or (B, 1) that point to no token of their row by -100: (B,).

    A position beyond the row, or on a masked token, belongs to an answer that was cut off. Negative positions stay.

    Args:
        tokens: (B, T) of bools, False for masked tokens.
    """
    positions = positions.view(-1).to(tokens.device)
    length = tokens.shape[1]
    seen = tokens.gather(1, positions.clamp(0, length - 1)[:, None])[:, 0]
    cut_off = (positions >= length) | ((positions >= 0) & ~seen)
    return positions.masked_fill(cut_off, IGNORED)
