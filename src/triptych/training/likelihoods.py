"""How well a language model predicts each of many rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from ..modeling.labels import IGNORED, next_token_labels
from .predictions import predict_in_batches

More = Callable[[Any, dict[str, Tensor]], list[Tensor]]
NOT_OF_THE_BODY = ("labels", "next_sentence_label")


def measured(model: Any, inputs: Mapping[str, Tensor]) -> tuple[Any, Tensor, Tensor, Tensor]:
    """Runs a model, and compares its predictions with the labels; the logits of all tokens are never in memory.

    Args:
        model: a decoder or an encoder with a map to its vocabulary.
        inputs: the arguments of its `forward`, with `labels`. Each row of a decoder is one document.

    Returns:
        What the body returns, and, each (rows, longest): the labels (those of a decoder are shifted), the negative
        log-likelihood of each (0 where there is none), and whether it is the most probable token.
    """
    labels = next_token_labels(inputs["labels"]) if model.base_model.is_causal else inputs["labels"]
    outputs = model.base_model(**{name: value for name, value in inputs.items() if name not in NOT_OF_THE_BODY})
    return outputs, labels, *model.predictions_of_labels(outputs.last_hidden_state, labels)


def likelihoods(
    model: Any,
    rows: Any,
    collate: Callable[[Sequence[Mapping[str, Any]]], dict[str, Tensor]],
    batch_size: int,
    accelerator: Accelerator,
    more: More | None = None,
) -> np.ndarray:
    """Measures each row for itself, whatever batch it is in; the processes share the work.

    Args:
        model: see `measured`; in evaluation mode.
        rows: a `datasets.Dataset` of the rows that `collate` takes.
        collate: makes the arguments of the model's `forward`, with `labels`.
        batch_size: the number of rows that are run at a time.
        more: makes further numbers, each (rows,), of what the body returns and of the arguments.

    Returns:
        For each row the sum of the negative log-likelihoods of its labels, the number of these, the number of those
        that are the most probable token, and the further numbers: (rows, 3 + further).
    """

    def measure(batch: dict[str, list[Any]]) -> list[list[float]]:
        examples = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        inputs = {name: tensor.to(model.device) for name, tensor in collate(examples).items()}
        outputs, labels, losses, right = measured(model, inputs)
        sums = [of.double().sum(-1) for of in (losses, labels != IGNORED, right)]
        further = [] if more is None else [of.double() for of in more(outputs, inputs)]
        found: list[list[float]] = torch.stack([*sums, *further], dim=-1).tolist()
        return found

    return np.asarray(predict_in_batches(measure, rows, batch_size, accelerator))


def of_rows(losses: np.ndarray, labels: np.ndarray, right: np.ndarray) -> list[dict[str, Any]]:
    """The mean loss of each row, the number of its labels, and the part of them that is right: three times (rows,)."""
    return [
        {"loss": loss / max(number, 1), "tokens": int(number), "accuracy": correct / max(number, 1)}
        for loss, number, correct in zip(losses.tolist(), labels.tolist(), right.tolist(), strict=True)
    ]
