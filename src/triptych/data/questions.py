"""Questions about texts: rows to learn from, and answers that do not stand where a row says."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .cache import mapped
from .windows import WindowEncoder, trimmed

if TYPE_CHECKING:
    from datasets import Dataset


def answer_of(context: str, answers: Mapping[str, Sequence[Any]]) -> tuple[int, int] | None:
    """Where the first answer begins and ends in the context, in characters; None for a question without an answer."""
    if not answers["text"]:
        return None
    start = answers["answer_start"][0]
    return trimmed(context, start, start + len(answers["text"][0]))


def window_rows(rows: "Dataset", encoder: WindowEncoder) -> "Dataset":
    """A row for each window of each question, to learn from.

    Args:
        rows: the columns `question`, `context` and `answers`; every answer stands at its place.

    Returns:
        The inputs of `Window`, and `start_positions` and `end_positions`. The target of a window that does not have
        the whole answer is the position that stands for no answer.

    Raises:
        ValueError: see `WindowEncoder.check`.
    """

    def encode(batch: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {}
        windows = encoder(batch["question"], batch["context"], numbers[0] + 1)
        for of_row, context, answers in zip(windows, batch["context"], batch["answers"], strict=True):
            answer = answer_of(context, answers)
            for window in of_row:
                span = (window.no_answer,) * 2 if answer is None else window.span(*answer)
                ends = dict(zip(("start_positions", "end_positions"), span, strict=True))
                for name, value in (window.inputs | ends).items():
                    columns.setdefault(name, []).append(value)
        return columns

    options = {"batched": True, "with_indices": True, "remove_columns": rows.column_names, "desc": "windows"}
    return mapped(rows, encode, ["windows", encoder], **options)


def told_of_misplaced(context: str, answers: Mapping[str, Sequence[Any]]) -> str | None:
    """A sentence about the first answer that is blank, or is not in the context at its place; None if all are."""
    for text, start in zip(answers["text"], answers["answer_start"], strict=True):
        found = context[start : start + len(text)]
        if not text.strip():
            return "an answer is blank; a question without an answer has empty lists in answers"
        if found != text:
            return (
                f"the answer {text!r:.60} does not stand in the context at answer_start={start}, where the text is "
                f"{found!r:.60}. Correct the row (answer_start counts characters from 0), or leave such rows out with "
                "--misplaced drop"
            )
    return None


def is_misplaced(context: str, answers: Mapping[str, Sequence[Any]]) -> bool:
    """Whether an answer does not stand in the context at its place."""
    return told_of_misplaced(context, answers) is not None
