"""Losses over tokens."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .documents import starts

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
            "check that the tokenizer, or num_labels, fits the data"
        )


def token_cross_entropy(
    logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Cross-entropy over the labels that are not -100, smoothed uniformly over the vocabulary (section 5.4).

    logits (…, V), labels (…) → scalar: the sum over tokens divided by `num_items_in_batch`, which a training loop
    gives so that the result does not depend on how an update is cut into pieces; without it, the mean.

    Raises:
        ValueError: labels and logits are of different shapes.
        IndexError: a label that is neither -100 nor in the vocabulary.
    """
    if logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"labels have the shape {tuple(labels.shape)}, but there are logits for {tuple(logits.shape[:-1])}"
        )
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


def problem_type(config: Any, labels: Tensor) -> str:
    """The kind of sequence labels: as the config says, else as transformers tells it by their number and dtype."""
    if config.problem_type is not None:
        kind: str = config.problem_type
        return kind
    if config.num_labels == 1:
        return "regression"
    return "multi_label_classification" if labels.is_floating_point() else "single_label_classification"


def regression_loss(logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
    """Squared error: logits (B, L), labels (B, L), or (B,) where L = 1."""
    errors = F.mse_loss(logits, labels.view_as(logits).to(logits), reduction="none")
    return errors.sum() / (errors.numel() if num_items_in_batch is None else num_items_in_batch)


def multi_label_loss(logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
    """Binary cross-entropy of every label: logits (B, L), labels (B, L) in [0, 1]."""
    errors = F.binary_cross_entropy_with_logits(logits, labels.to(logits), reduction="none")
    return errors.sum() / (errors.numel() if num_items_in_batch is None else num_items_in_batch)


def single_label_loss(logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
    """Cross-entropy: logits (…, L), labels (…) in [0, L), -100 where none is asked for."""
    return token_cross_entropy(logits, labels, num_items_in_batch=num_items_in_batch)


PROBLEMS = {
    "regression": regression_loss,
    "single_label_classification": single_label_loss,
    "multi_label_classification": multi_label_loss,
}


def sequence_loss(
    config: Any, logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """The loss of sequence classification; divided by the number of labels of the whole update where that is given.

    Raises:
        ValueError: an unknown `problem_type` in the config.
    """
    kind = problem_type(config, labels)
    if kind not in PROBLEMS:
        raise ValueError(f"unknown problem_type {kind!r} in the config; choose one of: {', '.join(PROBLEMS)}")
    return PROBLEMS[kind](logits, labels.to(logits.device), num_items_in_batch)


def span_loss(start_logits: Tensor, end_logits: Tensor, start_positions: Tensor, end_positions: Tensor) -> Tensor:
    """Mean cross-entropy of a span's first and last position: logits (B, T), positions (B,) or (B, 1) → scalar.

    Positions past the end, where the answer was cut off, do not count.
    """
    length = start_logits.shape[-1]
    losses = []
    for logits, positions in ((start_logits, start_positions), (end_logits, end_positions)):
        positions = positions.view(-1).to(logits.device)
        losses.append(token_cross_entropy(logits, positions.masked_fill(positions >= length, IGNORED)))
    return (losses[0] + losses[1]) / 2


def next_token_labels(labels: Tensor, document_ids: Tensor | None = None) -> Tensor:
    """Position t is asked for the token at t + 1, if that is of the same document: (B, T) → (B, T)."""
    if document_ids is not None:
        labels = labels.masked_fill(starts(document_ids), IGNORED)
    return F.pad(labels, (0, 1), value=IGNORED)[..., 1:]


def last_labels(labels: Tensor, pad_token_id: int) -> Tensor:
    """The last label of each row, with which transformers' mBART and FSMT start the decoder: (B, T) → (B, 1).

    As there, it stands at position n - 1 of a row with n labels that are neither -100 nor padding. That is the last
    one where nothing stands between or before the labels.
    """
    number = ((labels != IGNORED) & (labels != pad_token_id)).sum(-1, keepdim=True)
    return labels.gather(-1, (number - 1).clamp(min=0))


def shift_right(labels: Tensor, start_token_id: int, pad_token_id: int, document_ids: Tensor | None = None) -> Tensor:
    """The decoder's input for given labels: "outputs (shifted right)" behind the start token. (B, T) → (B, T)

    Every document of a row begins with the start token.
    """
    shifted = F.pad(labels, (1, 0), value=start_token_id)[..., :-1]
    if document_ids is not None:
        shifted = shifted.masked_fill(starts(document_ids), start_token_id)
    return shifted.masked_fill(shifted == IGNORED, pad_token_id)
