"""How well a language model predicts each of many rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from ..modeling.labels import next_token_labels
from .predictions import predict_in_batches


def likelihoods(
    model: Any,
    rows: Any,
    collate: Callable[[Sequence[Mapping[str, Any]]], dict[str, Tensor]],
    batch_size: int,
    accelerator: Accelerator,
) -> np.ndarray:
    """Measures each row for itself, whatever batch it is in; the processes share the work.

    Args:
        model: a decoder or an encoder with a map to its vocabulary, in evaluation mode.
        rows: a `datasets.Dataset` of the rows that `collate` takes. Each row of a decoder is one document.
        collate: makes the arguments of the model's `forward`, with `labels`.
        batch_size: the number of rows that are run at a time.

    Returns:
        For each row the sum of the negative log-likelihoods of its labels, the number of these, and the number of those
        that are the most probable token: (rows, 3).
    """

    def measure(batch: dict[str, list[Any]]) -> list[list[float]]:
        examples = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        inputs = {name: tensor.to(model.device) for name, tensor in collate(examples).items()}
        labels = inputs.pop("labels")
        labels = next_token_labels(labels) if model.base_model.is_causal else labels
        arguments = {name: tensor for name, tensor in inputs.items() if name not in ("next_sentence_label",)}
        hidden = model.base_model(**arguments).last_hidden_state
        losses, right = model.predictions_of_labels(hidden, labels)
        sums = [of.double().sum(-1) for of in (losses, labels != -100, right)]
        return torch.stack(sums, dim=-1).tolist()

    return np.asarray(predict_in_batches(measure, rows, batch_size, accelerator)).reshape(-1, 3)
