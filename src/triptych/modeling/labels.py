"""Labels: which of them count, and how a language model's inputs and labels are shifted against each other.

Shapes: B batch, T positions.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .documents import starts

IGNORED = -100  # a position with this label is not asked for anything


def count_labels(labels: Tensor) -> Tensor:
    """The number of labels that a loss is summed over, which are those other than -100: (…) → scalar."""
    return (labels != IGNORED).sum()


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Check that every label is -100 or a class. Only on the CPU: an accelerator reports such a label by itself.

    A compiled model does not check: it cannot read the labels.

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
    """Position t is asked for the token at t + 1, if that token belongs to the same document: (B, T) → (B, T)."""
    if document_ids is not None:
        labels = labels.masked_fill(starts(document_ids), IGNORED)
    return F.pad(labels, (0, 1), value=IGNORED)[..., 1:]


def last_labels(labels: Tensor, pad_token_id: int) -> Tensor:
    """The last label of each row, with which transformers' mBART and FSMT start the decoder: (B, T) → (B, 1).

    As in transformers, this is the label at position n - 1 of a row with n labels that are neither -100 nor padding.
    It is the last such label where no -100 and no padding stands before it.
    """
    number = ((labels != IGNORED) & (labels != pad_token_id)).sum(-1, keepdim=True)
    return labels.gather(-1, (number - 1).clamp(min=0))


def shift_right(labels: Tensor, start_token_id: int, pad_token_id: int, document_ids: Tensor | None = None) -> Tensor:
    """The decoder's input for given labels, the "outputs (shifted right)" of Figure 1: (B, T) → (B, T).

    Every row, and every document of a row, begins with the start token. A label of -100 becomes padding.
    """
    shifted = F.pad(labels, (1, 0), value=start_token_id)[..., :-1]
    if document_ids is not None:
        shifted = shifted.masked_fill(starts(document_ids), start_token_id)
    return shifted.masked_fill(shifted == IGNORED, pad_token_id)


def inside(positions: Tensor, tokens: Tensor) -> Tensor:
    """The positions (B,) or (B, 1) that point to a token of their row; -100 in place of all others: (B,).

    A position beyond the row, or on a masked token, belongs to an answer that was cut off.

    Args:
        tokens: (B, T) of bools, False for masked tokens.
    """
    positions = positions.view(-1).to(tokens.device)
    length = tokens.shape[1]
    seen = tokens.gather(1, positions.clamp(0, length - 1)[:, None])[:, 0]
    cut_off = (positions >= length) | ((positions >= 0) & ~seen)
    return positions.masked_fill(cut_off, IGNORED)
