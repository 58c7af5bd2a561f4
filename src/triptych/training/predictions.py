"""Predicting many rows, a batch at a time, on all processes; and writing the predictions, a line for each."""

import json
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from .translate import one_line


@torch.no_grad()
def predict_in_batches(
    predict: Callable[[dict[str, list[Any]]], list[Any]], rows: Any, batch_size: int, accelerator: Accelerator
) -> list[Any]:
    """Returns a prediction for each row, in their order; the processes share the batches, and each gets all results.

    Args:
        predict: makes a list of predictions of a batch: column → the values of its rows.
        rows: a `datasets.Dataset`.
    """
    starts = range(0, len(rows), batch_size)[accelerator.process_index :: accelerator.num_processes]
    found = [(start, predict(rows[start : start + batch_size])) for start in starts]
    if accelerator.num_processes > 1:
        found = gather_object(found)
    return [prediction for _, predictions in sorted(found, key=lambda batch: batch[0]) for prediction in predictions]


def prediction_line(prediction: Any) -> str:
    """Returns a prediction as one line of a file: a text as it stands, without line breaks, and all else as JSON."""
    return one_line(prediction) if isinstance(prediction, str) else json.dumps(prediction, ensure_ascii=False)
