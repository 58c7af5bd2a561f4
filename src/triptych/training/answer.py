"""Answering many questions with any model that scores the two ends of an answer, and scoring the result."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from ..data.answers import Answers, find_answers
from ..data.collators import pad
from ..data.windows import Window, WindowEncoder
from .metrics import load_metric

CHUNK = 512  # the number of questions whose windows are in memory at a time


@torch.no_grad()
def answer(
    model: Any,
    encoder: WindowEncoder,
    questions: Sequence[str],
    contexts: Sequence[str],
    *,
    max_answer_length: int = 30,
    number: int = 20,
    batch_size: int = 64,
    accelerator: Accelerator | None = None,
) -> list[Answers]:
    """
    Returns the best answers to each question, in their order.

    A batch consists of windows of similar length; the longest come first. With an `accelerator`, its processes share
    the questions, and each gets the whole result.

    Args:
        encoder: makes the windows; see `triptych.data.windows`.
        max_answer_length, number: see `triptych.data.answers.find_answers`.
        batch_size: the number of windows that are read at a time.

    Raises:
        ValueError: a question leaves no place for its context.
    """
    rank, processes = (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)
    was_training = model.training
    model.eval()
    found: list[tuple[int, Answers]] = []
    for start in range(rank * CHUNK, len(questions), processes * CHUNK):
        part = slice(start, start + CHUNK)
        of_rows = encoder(questions[part], contexts[part], start + 1)
        windows = [window for of_row in of_rows for window in of_row]
        scores = iter(score_windows(model, windows, encoder.tokenizer.pad_token_id or 0, batch_size))
        for row, of_row in enumerate(of_rows, start):
            firsts, lasts = zip(*(next(scores) for _ in of_row), strict=True)
            found.append((row, find_answers(contexts[row], of_row, firsts, lasts, max_answer_length, number)))
    model.train(was_training)
    if processes > 1:
        found = gather_object(found)
    return [answers for _, answers in sorted(found, key=lambda item: item[0])]


def score_windows(
    model: Any, windows: Sequence[Window], pad_token_id: int, batch_size: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the logits of first and of last tokens in each window, (T,) and (T,)."""
    lengths = [len(window.inputs["input_ids"]) for window in windows]
    order = sorted(range(len(windows)), key=lambda number: -lengths[number])
    scores: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for begin in range(0, len(order), batch_size):
        numbers = order[begin : begin + batch_size]
        batch = window_batch([windows[number] for number in numbers], pad_token_id)
        outputs = model(**{name: tensor.to(model.device) for name, tensor in batch.items()})
        sides = (outputs.start_logits.float().cpu().numpy(), outputs.end_logits.float().cpu().numpy())
        for place, number in enumerate(numbers):
            firsts, lasts = (side[place, : lengths[number]] for side in sides)
            scores[number] = firsts, lasts
    return [scores[number] for number in range(len(windows))]


def window_batch(windows: Sequence[Window], pad_token_id: int) -> dict[str, Tensor]:
    """Returns the inputs of windows as tensors, (rows, longest), filled up on the right, and their mask."""
    batch = {
        name: pad([window.inputs[name] for window in windows], pad_token_id if name == "input_ids" else 0)
        for name in windows[0].inputs
    }
    return batch | {"attention_mask": pad([[1] * len(window.inputs["input_ids"]) for window in windows], 0)}


def score_answers(ids: Sequence[str], texts: Sequence[str], answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """
    Returns `exact_match` and `f1` (0 to 100), as SQuAD 1.1 scores them. Where a question has no answer, as SQuAD 2.0
    does, with the scores of the questions that have an answer (`HasAns_exact`, `HasAns_f1`) and of those that have
    none (`NoAns_exact`, `NoAns_f1`).
    """
    references = [{"id": key, "answers": dict(of_row)} for key, of_row in zip(ids, answers, strict=True)]
    predictions: list[dict[str, Any]] = [
        {"id": key, "prediction_text": text} for key, text in zip(ids, texts, strict=True)
    ]
    if all(of_row["text"] for of_row in answers):
        scores: dict[str, Any] = load_metric("squad").compute(predictions=predictions, references=references)
        return scores
    predictions = [prediction | {"no_answer_probability": 0.0} for prediction in predictions]
    scores = load_metric("squad_v2").compute(predictions=predictions, references=references)
    kept = {name: value for name, value in scores.items() if name.startswith(("HasAns_", "NoAns_"))}
    return {"exact_match": scores["exact"], "f1": scores["f1"], **kept}
