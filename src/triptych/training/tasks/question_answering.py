"""The task of question answering: to find the part of a text that answers a question, scored as SQuAD is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from accelerate import Accelerator

from ...data import PaddingCollator
from ...data.answers import Answer
from ...data.collators import IGNORED
from ...data.file_rows import Files
from ...data.formats.kinds import Column
from ...data.questions import is_misplaced, told_of_misplaced, window_rows
from ...data.sieve import Counts
from ...data.windows import CHECKPOINT_KEY, WindowEncoder
from ...modeling import (
    TriptychDecoderForQuestionAnswering,
    TriptychEncoderForQuestionAnswering,
    TriptychForQuestionAnswering,
)
from ..answer import answer, score_answers
from ..arguments import option
from ..data_options import DataOptions
from ..task import Task
from ..task_arguments import TaskArguments

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

MOST_TOKENS = 384  # of a window, as in the code of Devlin et al. 2018


@dataclass(kw_only=True)
class QuestionOptions(DataOptions):
    """Rows with a question, a context and its answers, as in SQuAD; or the nested files of SQuAD itself."""

    question_column: str = option("question", "Column of the questions.")
    context_column: str = option("context", "Column of the texts in which the answers stand.")
    answers_column: str = option(
        "answers",
        'Column of the answers: {"text": [...], "answer_start": [...]}; with empty lists the question has no answer.',
    )
    id_column: str = option(
        "id", "Column of the names of the questions, which the predictions bear; without it, they bear row numbers."
    )
    misplaced: Literal["error", "drop"] = option(
        "error", "What to do with rows whose answer does not stand in the context at its answer_start."
    )

    def columns(self) -> dict[str, Column | str]:
        """Extends `DataOptions.columns`."""
        return {
            "question_column": Column(self.question_column),
            "context_column": Column(self.context_column),
            "answers_column": Column(self.answers_column, "answers"),
            "id_column": Column(self.id_column, "name", optional=True),
        }

    def read(self, files: Mapping[str, Files | None]) -> tuple["DatasetDict", dict[str, Counts]]:
        """Extends `DataOptions.read`: one split may have ids, and another one none."""
        from datasets import DatasetDict

        if self.dataset_name:
            return super().read(files)
        data, counts = DatasetDict(), {}
        for split, given in files.items():
            if given is not None:
                rows, of_split = super().read({split: given})
                data[split], counts[split] = rows[split], of_split[split]
        return data, counts

    def fault(self, row: dict[str, Any]) -> str | None:
        """Extends `DataOptions.fault`: an answer that does not stand in the context at its place."""
        return None if self.misplaced == "drop" else told_of_misplaced(row["context"], row["answers"])


@dataclass(kw_only=True)
class QuestionAnsweringArguments(QuestionOptions, TaskArguments):
    """
    The data, the windows over long contexts, and how an answer is chosen.

    Raises:
        ValueError: there are no data, or several sources of data; or an option is out of range.
    """

    max_length: int | None = option(
        None, f"Most tokens of a window (default: {MOST_TOKENS}, or fewer if the model has fewer positions)."
    )
    doc_stride: int | None = option(
        None, "Tokens that two neighbouring windows of a long context have in common (default: a third of max_length)."
    )
    max_answer_length: int = option(30, "Most tokens of an answer.")
    null_score_threshold: float | None = option(
        None,
        'How much the score of "no answer" must exceed the score of the best answer for a question to get none '
        "(default: 0 if training data have questions without an answer, else every question is answered).",
    )
    evaluation_questions: int = option(500, "Validation questions that are answered at evaluations; 0 for none.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "max_length", "max_answer_length")
        self.check_at_least(0, "doc_stride", "evaluation_questions")
        if self.null_score_threshold is not None and not math.isfinite(self.null_score_threshold):
            raise ValueError(f"null_score_threshold={self.null_score_threshold} must be finite")


class QuestionAnsweringTask(Task):
    """Learns to find the answers to questions in texts; see `Task`."""

    arguments_class = QuestionAnsweringArguments
    model_classes: ClassVar = {
        "encoder": TriptychEncoderForQuestionAnswering,
        "decoder": TriptychDecoderForQuestionAnswering,
        "encoder-decoder": TriptychForQuestionAnswering,
    }
    default_preset = "bert-base"
    objective = "question answering"
    pipeline_tag = CHECKPOINT_KEY
    unit = "questions"
    text_columns = ("question", "context")
    held_together = "context"
    scores = ("exact_match", "f1")
    derived = {}  # the loss is not that of words, so it has no perplexity
    predictions_file = "test_predictions.jsonl"

    arguments: QuestionAnsweringArguments

    def load_data(self, seed: int) -> tuple["DatasetDict", Sequence[str]]:
        """Extends `Task.load_data`: leaves out misplaced answers where that is wanted."""
        data, remarks = super().load_data(seed)
        if self.arguments.misplaced == "error":  # then none is left, see `QuestionOptions.fault`
            return data, remarks
        for split, rows in data.items():
            kept = [row for row, of_row in enumerate(rows) if not is_misplaced(of_row["context"], of_row["answers"])]
            if not kept:
                raise ValueError(f"{split}: no answer stands in its context at answer_start, which counts from 0")
            if len(kept) < len(rows):
                data[split] = rows.select(kept)
                remarks = [
                    *remarks,
                    f"{split}: misplaced answers left out: {len(rows) - len(kept):,} of {len(rows):,}",
                ]
        return data, remarks

    @cached_property
    def threshold(self) -> float | None:
        """The threshold from which a question has no answer; None: every question is answered."""
        if self.arguments.null_score_threshold is not None:
            return self.arguments.null_score_threshold
        return 0.0 if any(not answers["text"] for answers in self.data["train"]["answers"]) else None

    @cached_property
    def windows(self) -> WindowEncoder:
        """What makes windows that the model can read.

        Raises:
            ValueError: `max_length` is greater than the positions of the model.
        """
        stacks = self.config.stacks
        limits = [self.config.stack_config(stack).position_limit for stack in stacks]
        limit = min((limit for limit in limits if limit is not None), default=None)
        longest = self.arguments.max_length or min(MOST_TOKENS, limit or MOST_TOKENS)
        if limit is not None and longest > limit:
            raise ValueError(f"max_length={longest} is greater than the {limit} positions of the model")
        return WindowEncoder(self.tokenizer, longest, self.arguments.doc_stride, self.config.type_vocab_size)

    def create_model(self) -> Any:
        """Extends `Task.create_model`: the model knows how a pipeline makes windows and chooses the answers."""
        model = super().create_model()
        self.model = model
        windows = self.windows
        params = {"max_seq_len": windows.max_length, "doc_stride": windows.stride}
        params["max_answer_len"] = self.arguments.max_answer_length
        model.config.task_specific_params = {CHECKPOINT_KEY: params | {"null_score_threshold": self.threshold}}
        return model

    def rows(self, split: str) -> "Dataset":
        """Extends `Task.rows`: a row for each window."""
        return window_rows(self.data[split], self.windows)

    def collator(self) -> PaddingCollator:
        """Extends `Task.collator`."""
        inputs = {"input_ids": int(self.config.pad_token_id or 0)}
        if self.windows.has_segments:
            inputs["token_type_ids"] = 0
        ends = {"start_positions": IGNORED, "end_positions": IGNORED}
        return PaddingCollator(inputs, {"input_ids": "attention_mask"}, ends)

    def evaluation_rows(self) -> "Dataset":
        """Extends `Task.evaluation_rows`: about `evaluation_questions` questions, spread over the whole split."""
        rows, number = self.data["validation"], self.arguments.evaluation_questions
        return rows.select(range(0, len(rows), math.ceil(len(rows) / number)) if number else [])

    def ids(self, rows: "Dataset") -> list[str]:
        """Returns the name of each question: that of its column, or its number from 1."""
        return list(rows["id"]) if "id" in rows.column_names else [str(row + 1) for row in range(len(rows))]

    def predict(self, model: Any, rows: "Dataset", accelerator: Accelerator, final: bool) -> list[dict[str, Any]]:
        """Extends `Task.predict`: the best answer to each question, a part of its context."""
        found = answer(
            model,
            self.windows,
            list(rows["question"]),
            list(rows["context"]),
            max_answer_length=self.arguments.max_answer_length,
            batch_size=self.arguments.evaluation_batch_size,
            accelerator=accelerator,
        )
        threshold = self.threshold
        chosen: list[Answer] = [answers.chosen(threshold) for answers in found]
        return [
            {
                "id": name,
                "prediction_text": best.text,
                "answer_start": best.start,
                "score": best.score,
                "no_answer_score": answers.no_answer_score,
            }
            for name, best, answers in zip(self.ids(rows), chosen, found, strict=True)
        ]

    def score(self, predictions: list[dict[str, Any]], rows: "Dataset") -> dict[str, Any]:
        """Extends `Task.score`: exact match and F1 of words."""
        texts = [prediction["prediction_text"] for prediction in predictions]
        return score_answers(self.ids(rows), texts, list(rows["answers"]))

    def identity(self) -> dict[str, Any]:
        """Extends `Task.identity`."""
        windows = self.windows
        return {"data.max_length": windows.max_length, "data.doc_stride": windows.stride}
