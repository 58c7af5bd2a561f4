"""The task of classification: a text, or a pair of texts, gets a label, several labels or a number."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from accelerate import Accelerator
from torch import Tensor

from ...data import PaddingCollator
from ...data.arrow import values_of
from ...data.cache import mapped
from ...data.formats.kinds import Column
from ...data.quantities import counted
from ...data.texts import TextEncoder, check_end_tokens, separates_pairs
from ...modeling import (
    TriptychDecoderForSequenceClassification,
    TriptychEncoderForSequenceClassification,
    TriptychForSequenceClassification,
)
from ..arguments import option
from ..data_options import TextOptions
from ..labels import shown
from ..limits import longest_row
from ..objective import Piece
from ..predictions import predict_in_batches
from ..problems import LABEL, PROBLEMS, Problem, problem_of
from ..task import Task
from ..task_arguments import TaskArguments
from ..vocabulary import Tokenizers, complete_for_batches

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)
PAIR = "text_pair"


@dataclass(kw_only=True)
class ClassificationArguments(TextOptions, TaskArguments):
    """
    Rows with a text, perhaps a second text, and labels.

    Raises:
        ValueError: see `TaskArguments`; or an option is out of range.
    """

    text_pair_column: str = option(PAIR, "Column of the second texts, where texts are pairs. Files may lack it.")
    label_column: str = option(LABEL, "Column of the labels: names, whole numbers, lists of these, or numbers.")
    problem_type: Literal["single_label_classification", "multi_label_classification", "regression"] | None = option(
        None, "What the labels mean; by default lists are several labels, and numbers such as 2.5 are regression."
    )
    max_length: int | None = option(
        None, "Most tokens of a text or pair; by default what the positions of the model allow. Longer ones are cut."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(4, "max_length")

    def columns(self) -> dict[str, Column | str]:
        """Extends `TextOptions.columns`: the second text and the labels."""
        kind = PROBLEMS[self.problem_type].kind if self.problem_type else "label"
        return super().columns() | {
            "text_pair_column": Column(self.text_pair_column, optional=self.text_pair_column == PAIR),
            "label_column": Column(self.label_column, kind),
        }


class ClassificationTask(Task):
    """Learns to classify texts or pairs of texts; see `Task`. `problem` is what the labels mean."""

    arguments_class = ClassificationArguments
    model_classes: ClassVar = {
        "encoder": TriptychEncoderForSequenceClassification,
        "decoder": TriptychDecoderForSequenceClassification,
        "encoder-decoder": TriptychForSequenceClassification,
    }
    default_preset = "bert-base"
    objective = "classification"
    pipeline_tag = "text-classification"
    unit = "texts"
    covered = "label"
    derived = {}  # a perplexity is about words
    predictions_file = "test_predictions.jsonl"

    arguments: ClassificationArguments
    problem: Problem

    def complete(self, named: Tokenizers) -> None:
        """Extends `Task.complete`: a tokenizer without a padding token gets one."""
        complete_for_batches(named[0])

    def load_data(self, seed: int) -> tuple["DatasetDict", Sequence[str]]:
        """Extends `Task.load_data`: finds what the labels mean, and checks that all of them can be learnt."""
        data, remarks = super().load_data(seed)
        if "train" in data:
            self.problem_type = self.arguments.problem_type or problem_of(data["train"])
            self.problem = PROBLEMS[self.problem_type](data["train"], self.checkpoint)
            self.scores = self.problem.scores
            self.use = f"{self.problem.use}{' of pairs' if PAIR in self.text_columns else ''}"
            for split, rows in data.items():
                self.problem.check(split, rows)
        return data, list(remarks)

    def hold_out(self, data: "DatasetDict", seed: int) -> list[str]:
        """Extends `Task.hold_out`: finds whether the texts are pairs."""
        if "train" in data and PAIR in data["train"].column_names:
            self.text_columns, self.unit = ("text", PAIR), "pairs of texts"
        return super().hold_out(data, seed)

    def task_fields(self) -> dict[str, Any]:
        """Extends `Task.task_fields`: the labels, and what they mean."""
        return {**self.problem.fields(), "problem_type": self.problem_type}

    @property
    def encoder(self) -> TextEncoder:
        """What turns texts into the arguments of the model."""
        limit = longest_row(self.config, self.arguments.max_length)
        return TextEncoder(self.tokenizer, limit, getattr(self.config, "type_vocab_size", 0) > 1)

    def rows(self, split: str) -> "Dataset":
        """Extends `Task.rows`: the tokens of the texts and the labels; texts that are too long are cut."""
        data, encoder, problem = self.data[split], self.encoder, self.problem
        if self.family == "encoder-decoder":
            check_end_tokens(self.tokenizer, encoder, self.config.eos_token_id)

        def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            return {**encoder(batch["text"], batch.get(PAIR)), "labels": problem.targets(batch[LABEL])}

        depends_on = ["classification", encoder, problem.fields()]
        rows = mapped(data, encode, depends_on, batched=True, remove_columns=data.column_names, desc="tokenizing")
        cut = sum(values_of(rows, "is_cut"))
        if cut:
            self.remarks = [
                *self.remarks,
                f"{split}: cut to {counted(int(encoder.limit or 0), 'tokens')}: {cut:,} of {len(rows):,}",
            ]
        return rows.remove_columns("is_cut")

    def collator(self) -> PaddingCollator:
        """Extends `Task.collator`."""
        fills = {"input_ids": int(self.config.pad_token_id or 0), "token_type_ids": 0}
        sequences = {column: fills[column] for column in self.encoder.columns}
        ends = self.config.eos_token_id if self.family == "encoder-decoder" else None  # every row needs one
        alone = {} if ends is None else {"input_ids": ends if isinstance(ends, int) else ends[0]}
        return PaddingCollator(sequences, {"input_ids": "attention_mask"}, **self.problem.collation(), alone=alone)

    def loss(self, model: Any, piece: Piece, items: dict[str, Tensor]) -> Tensor:
        """Extends `Objective.loss`: a piece whose labels have no rows adds 0 (see `PaddingCollator`)."""
        if len(piece["labels"]):
            return super().loss(model, piece, items)
        logits: Tensor = model(**{name: tensor for name, tensor in piece.items() if name != "labels"}).logits
        return logits.float().sum() * 0.0

    def predict(self, model: Any, rows: "Dataset", accelerator: Accelerator, final: bool) -> list[dict[str, Any]]:
        """Extends `Task.predict`: the label, or labels, or number, with probabilities."""
        encoder, with_labels = self.encoder, self.collator()
        collate = PaddingCollator(with_labels.sequences, with_labels.masks)

        def answers(batch: dict[str, list[Any]]) -> list[dict[str, Any]]:
            encoded = encoder(batch["text"], batch.get(PAIR))
            if final and any(encoded["is_cut"]):
                texts = counted(sum(encoded["is_cut"]), "texts")
                logger.warning("cut %s to %s", texts, counted(int(encoder.limit or 0), "tokens"))
            inputs = collate([dict(zip(encoded, row, strict=True)) for row in zip(*encoded.values(), strict=True)])
            inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
            return self.problem.decide(model(**inputs).logits.float())

        return predict_in_batches(answers, rows, self.arguments.evaluation_batch_size, accelerator)

    def score(self, predictions: list[dict[str, Any]], rows: "Dataset") -> dict[str, Any]:
        """Extends `Task.score`: see `PROBLEMS`."""
        return self.problem.score(predictions, rows[LABEL][:])

    def identity(self) -> dict[str, Any]:
        """Extends `Task.identity`."""
        return {"data.problem_type": self.problem_type, "data.max_length": self.arguments.max_length}

    def summary(self) -> dict[str, str]:
        """Extends `Task.summary`: what the labels mean, and a pair whose texts flow into one another."""
        names = self.task_fields().get("label2id", {})
        told = [f"{self.problem_type}{f': {shown(names)}' if names else ''}"]
        if PAIR in self.text_columns and not separates_pairs(self.encoder):
            told.append("the tokenizer puts nothing between the two texts of a pair")
        return {"labels": "\n".join(told)}
