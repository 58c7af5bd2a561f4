"""Losses over tokens."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

IGNORED = -100
CHUNK = 2**20  # logits that are looked at in float32 at a time: 4 MB


def row_slices(rows: int, size: int) -> list[slice]:
    """`rows` rows in runs of `size`."""
    return [slice(start, start + size) for start in range(0, rows, size)]


class SmoothedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy against (1 - ε) one-hot + ε uniform, with its gradient: no float32 copy of all logits.

    logits z (N, V), labels y (N,), p = softmax(z) → scalar, -Σ (1 - ε) log p[y] + ε mean(log p), over labelled rows.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        epsilon, vocab_size = label_smoothing, logits.shape[-1]
        counted = (labels != IGNORED)[:, None]
        gold = labels[:, None].masked_fill(~counted, 0)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        for chunk in row_slices(len(labels), max(1, CHUNK // vocab_size)):
            y, counts = gold[chunk], counted[chunk]
            log_p = logits[chunk].log_softmax(dim=-1, dtype=torch.float32)
            loss = -(1 - epsilon) * log_p.gather(-1, y) - epsilon * log_p.mean(dim=-1, keepdim=True)
            total += torch.where(counts, loss, 0.0).sum()
            if gradient is not None:  # softmax(z) - (1 - ε) one-hot - ε / V
                difference = log_p.exp_().sub_(epsilon / vocab_size)
                difference.scatter_add_(-1, y, torch.full_like(loss, epsilon - 1))
                gradient[chunk] = difference.masked_fill_(~counts, 0.0)
        ctx.gradient = gradient
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        return ctx.gradient * outer[0], None, None


def check_labels(labels: Tensor, vocab_size: int) -> None:
    """Raises IndexError for a label outside the vocabulary; on the CPU, as an accelerator reports it by itself."""
    if labels.device.type != "cpu":
        return
    wrong = labels[((labels < 0) & (labels != IGNORED)) | (labels >= vocab_size)]
    if len(wrong):
        raise IndexError(
            f"labels must be {IGNORED} or lie in [0, {vocab_size}), got {wrong[0].item()}; "
            "check that the tokenizer fits the model"
        )


def token_cross_entropy(
    logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Cross-entropy over the labels that are not -100, smoothed uniformly over the vocabulary (section 5.4).

    logits (…, V), labels (…) → scalar: the sum over tokens divided by `num_items_in_batch`, which a training loop
    gives so that the result does not depend on how an update is cut into pieces; without it, the mean.

    Raises:
        IndexError: a label that is neither -100 nor in the vocabulary.
    """
    flat, labels = logits.flatten(0, -2), labels.flatten().to(logits.device)
    if torch.compiler.is_compiling():  # the compiler fuses the plain formula by itself
        total = F.cross_entropy(
            flat.float(), labels, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="sum"
        )
    else:
        check_labels(labels, logits.shape[-1])
        total = SmoothedCrossEntropy.apply(flat, labels, label_smoothing)
    if num_items_in_batch is None:
        num_items_in_batch = (labels != IGNORED).sum().clamp(min=1)  # no label at all: a loss of zero, not NaN
    if torch.is_tensor(num_items_in_batch):
        num_items_in_batch = num_items_in_batch.to(logits.device)
    return total / num_items_in_batch


def next_token_labels(labels: Tensor) -> Tensor:
    """Position t is asked for the token at t + 1: (B, T) → (B, T)."""
    return F.pad(labels, (0, 1), value=IGNORED)[..., 1:]


def shift_right(labels: Tensor, start_token_id: int, pad_token_id: int) -> Tensor:
    """The decoder's input for given labels: "outputs (shifted right)" behind the start token. (B, T) → (B, T)"""
    shifted = F.pad(labels, (1, 0), value=start_token_id)[..., :-1]
    return shifted.masked_fill(shifted == IGNORED, pad_token_id)
