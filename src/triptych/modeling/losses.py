"""Losses: sums of cross-entropies or errors, divided by a number that does not depend on how a batch is cut.

Every loss takes the number of items by which its sum is divided. A training loop gives the number of items in the
whole update, on all processes. Then the losses of the pieces of an update add up to the loss of the update, and so do
their gradients. Without this number, a loss is the mean over its batch.

Shapes: B batch, T positions, L labels, V words of the vocabulary, N rows.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .labels import IGNORED, check_labels, count_labels, inside

CHUNK = 2**20  # the number of logits that are converted to float32 at a time: 4 MB


def row_slices(rows: int, size: int) -> list[slice]:
    """The slices that cut `rows` rows into runs of at most `size`."""
    return [slice(start, start + size) for start in range(0, rows, size)]


class SmoothedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy with the target (1 - ε) one-hot + ε uniform, without a float32 copy of all logits.

    Logits z (N, V), labels y (N,), p = softmax(z) → scalar: -Σ (1 - ε) log p[y] + ε mean(log p), summed over the rows
    whose label is not -100. The gradient is computed together with the loss, in the dtype of the logits.
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


def divide(total: Tensor, number: Tensor | int | None, own_number: Tensor | int) -> Tensor:
    """A sum, divided by the `number` of items if the caller gives it, else by the `own_number` of this batch."""
    if number is None:  # if nothing counts, the loss is 0 and not NaN
        number = own_number.clamp(min=1) if torch.is_tensor(own_number) else max(own_number, 1)
    return total / (number.to(total.device) if torch.is_tensor(number) else number)


def check_shapes(labels: Tensor, vectors: Tensor) -> None:
    """Raises ValueError unless there is one vector, of logits or of a hidden state, for each label."""
    if vectors.shape[:-1] != labels.shape:
        raise ValueError(
            f"labels have the shape {tuple(labels.shape)}, but there are logits for {tuple(vectors.shape[:-1])}"
        )


def summed_cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The sum of the cross-entropies of all labels that are not -100: logits (…, V), labels (…) → scalar.

    Raises:
        ValueError: labels and logits have different shapes.
        IndexError: a label is neither -100 nor in [0, V).
    """
    check_shapes(labels, logits)
    flat, labels = logits.flatten(0, -2), labels.flatten().to(logits.device)
    if torch.compiler.is_compiling():  # the compiler fuses the plain formula by itself
        return F.cross_entropy(
            flat.float(), labels, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="sum"
        )
    check_labels(labels, logits.shape[-1])
    total: Tensor = SmoothedCrossEntropy.apply(flat, labels, label_smoothing)
    return total


def token_cross_entropy(
    logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Cross-entropy over the labels that are not -100, smoothed uniformly over the vocabulary.

    Label smoothing is that of "Attention Is All You Need", section 5.4 (Szegedy et al. 2015, section 7).

    Args:
        logits: (…, V).
        labels: (…) classes in [0, V), or -100 for labels that do not count.
        label_smoothing: ε, the part of the target distribution that is spread over the vocabulary.
        num_items_in_batch: the number by which the sum is divided; by default the number of labels that count.

    Returns:
        A scalar in float32; 0 where no label counts.

    Raises:
        ValueError: labels and logits have different shapes.
        IndexError: a label is neither -100 nor in [0, V).
    """
    return divide(summed_cross_entropy(logits, labels, label_smoothing), num_items_in_batch, count_labels(labels))


def problem_type(config: Any, labels: Tensor) -> str:
    """What labels of sequences mean, from the configuration, or as transformers infers it from number and dtype."""
    if config.problem_type is not None:
        kind: str = config.problem_type
        return kind
    if config.num_labels == 1:
        return "regression"
    return "multi_label_classification" if labels.is_floating_point() else "single_label_classification"


def summed_squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum of squared errors: logits (B, L) and labels (B, L), or labels (B,) where L = 1 → scalar."""
    return F.mse_loss(logits, labels.view_as(logits).to(logits), reduction="sum")


def summed_binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum of binary cross-entropies: logits (B, L) and labels (B, L) in [0, 1] → scalar."""
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits), reduction="sum")


# For each problem of sequence classification: the function that sums over the labels, and the one that counts them.
PROBLEMS = {
    "regression": (summed_squared_error, torch.numel),
    "single_label_classification": (summed_cross_entropy, count_labels),
    "multi_label_classification": (summed_binary_cross_entropy, torch.numel),
}


def sequence_problem(config: Any, labels: Tensor) -> tuple[Any, Any]:
    """The entry of `PROBLEMS` for these labels.

    Raises:
        ValueError: the configuration names an unknown `problem_type`.
    """
    kind = problem_type(config, labels)
    if kind not in PROBLEMS:
        raise ValueError(f"unknown problem_type {kind!r} in the config; choose one of: {', '.join(PROBLEMS)}")
    return PROBLEMS[kind]


def count_sequence_labels(config: Any, labels: Tensor) -> Tensor:
    """The number of labels over which `sequence_loss` is a mean: scalar.

    For classes, it is the number of rows with a class. For several labels and for regression, it is the number of all
    elements.
    """
    _, count = sequence_problem(config, labels)
    return torch.as_tensor(count(labels), device=labels.device)


def sequence_loss(
    config: Any, logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """The loss of sequence classification, in which `config.problem_type` decides what the labels mean.

    Args:
        logits: (B, L).
        labels: (B,) classes; (B, L) of floats in [0, 1] for several labels; (B, L) of numbers for regression, or (B,)
            where L = 1.
        num_items_in_batch: the number by which the sum is divided; by default see `count_sequence_labels`.

    Raises:
        ValueError: the configuration names an unknown `problem_type`.
        IndexError: a class is neither -100 nor in [0, L).
    """
    labels = labels.to(logits.device)
    total, count = sequence_problem(config, labels)
    return divide(total(logits, labels), num_items_in_batch, count(labels))


def position_loss(logits: Tensor, positions: Tensor, tokens: Tensor, number: Tensor | int | None) -> Tensor:
    """Cross-entropy of one position in each row, among the tokens that are not masked.

    Logits (B, T), positions (B,) or (B, 1), tokens (B, T) of bools → scalar. Masked tokens take no part in the
    softmax, so the loss of a row does not depend on the length to which its batch is padded.
    """
    labels = inside(positions, tokens)
    check_labels(labels, logits.shape[-1])
    logits = logits.float().masked_fill(~tokens, torch.finfo(torch.float32).min)
    return divide(F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum"), number, count_labels(labels))


def span_loss(
    start_logits: Tensor,
    end_logits: Tensor,
    start_positions: Tensor,
    end_positions: Tensor,
    tokens: Tensor | None = None,
    num_items_in_batch: Tensor | int | None = None,
    num_ends_in_batch: Tensor | int | None = None,
) -> Tensor:
    """The mean of two cross-entropies: of a span's first position and of its last (Devlin et al. 2018, section 4.2).

    A position beyond the row, or on a masked token, belongs to an answer that was cut off, and does not count.
    transformers includes the logits of padding in the softmax. This function leaves them out, because the loss of a
    row must not depend on the other rows of its batch.

    Args:
        start_logits, end_logits: (B, T).
        start_positions, end_positions: (B,) or (B, 1).
        tokens: (B, T) of bools, False for masked tokens; by default nothing is masked.
        num_items_in_batch: the number of first positions that count, by which their sum is divided; by default the
            number in this batch.
        num_ends_in_batch: the number of last positions that count; by default `num_items_in_batch`.

    Returns:
        A scalar in float32; 0 where no position counts.

    Raises:
        IndexError: a position is negative and not -100.
    """
    if tokens is None:
        tokens = torch.ones_like(start_logits, dtype=torch.bool)
    tokens = tokens.to(start_logits.device)
    if num_ends_in_batch is None:
        num_ends_in_batch = num_items_in_batch
    start_loss = position_loss(start_logits, start_positions, tokens, num_items_in_batch)
    return (start_loss + position_loss(end_logits, end_positions, tokens, num_ends_in_batch)) / 2
