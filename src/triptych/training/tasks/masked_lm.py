"""The task of masked language modelling, alone or with next-sentence prediction, scored by its losses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from accelerate import Accelerator
from torch import Tensor

from ...data.documents import MaskedEncoder
from ...data.objectives.masked import MaskedLMCollator
from ...data.objectives.next_sentence import next_sentence_rows
from ...modeling import TriptychEncoderForMaskedLM, TriptychEncoderForPreTraining
from ...modeling.losses import token_cross_entropy
from ..arguments import option
from ..likelihoods import likelihoods, measured, of_rows
from ..objective import perplexity
from .language_model import DocumentArguments, LanguageModelTask, in_batches

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@dataclass(kw_only=True)
class MaskedLMArguments(DocumentArguments):
    """
    Documents, and what is masked.

    Raises:
        ValueError: `mlm_probability` is not in (0, 1]; or pairs of sentences are wanted from a stream, or packed.
    """

    tokenizer_model: Literal["bpe", "wordpiece", "unigram", "unigram-bytes", "word", "character"] = option(
        "wordpiece", "Model of the tokenizer that is trained."
    )
    masking: Literal["token", "word", "span"] = option(
        "token", "What is masked as a whole: single tokens, words, or spans of 1 to 10 words (SpanBERT's)."
    )
    mlm_probability: float = option(
        0.15, "Part of the tokens that are masked for the model to fill in, drawn anew in each epoch."
    )
    packed: bool = option(
        False,
        "Fill rows with several documents that see each other, as RoBERTa did; the end token of a row stands between "
        "two. By default each document has rows of its own.",
    )
    next_sentence: bool = option(
        False,
        "Also learn whether a segment follows another one in its document, as BERT did. Documents have a sentence on "
        "each line.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mlm_probability <= 1:
            raise ValueError(f"mlm_probability={self.mlm_probability} must be in (0, 1]")
        if self.next_sentence and self.packed:
            raise ValueError("--next_sentence and --packed are two ways to make rows: give one of them")
        if self.next_sentence and self.streaming:
            raise ValueError("--next_sentence takes sentences from any document, so the data cannot be a stream; "
                             "leave out --streaming or --next_sentence")  # fmt: skip


class MaskedLMTask(LanguageModelTask):
    """Learns to fill in masked tokens; see `Task`. With `next_sentence`, a second loss is added to the first."""

    arguments_class = MaskedLMArguments
    model_classes: ClassVar = {"encoder": TriptychEncoderForMaskedLM}
    default_preset = "bert-base"
    objective = "masked-language-modelling"
    title = "masked language modelling"
    pipeline_tag = "fill-mask"
    scores = ("loss", "perplexity", "accuracy")

    arguments: MaskedLMArguments

    def __init__(self, *options: Any, **named: Any) -> None:
        super().__init__(*options, **named)
        self.seed, self.losses = 0, ("loss", "accuracy")
        if self.arguments.next_sentence:
            self.model_class = TriptychEncoderForPreTraining
            # The first one is that of the perplexity; `loss` is the sum, which training minimises.
            self.losses = ("masked_lm_loss", "accuracy", "loss", "next_sentence_loss", "next_sentence_accuracy")

    def load_data(self, seed: int) -> tuple["DatasetDict", Sequence[str]]:
        """Extends `Task.load_data`: the seed also draws masks and pairs."""
        self.seed = seed
        return super().load_data(seed)

    def hold_out(self, data: "DatasetDict", seed: int) -> list[str]:
        """Extends `Task.hold_out`: pairs of sentences need several documents, so fewer are not held out."""
        train, had_validation = data.get("train"), "validation" in data
        told = super().hold_out(data, seed)
        if not self.arguments.next_sentence or had_validation or "validation" not in data:
            return told
        texts = data["validation"]["text"][:]
        if len(texts) > 1 and any(len(text.split("\n")) > 1 for text in texts):
            return told
        data["train"] = train
        del data["validation"]
        return ["no documents are held out for validation: pairs of sentences would need several: give more data"]

    def rows(self, split: str) -> "Dataset":
        """Extends `Task.rows`: documents, cut into rows; or pairs of segments of documents."""
        if self.arguments.next_sentence:
            return self.pairs(self.data[split])
        return self.numbered(self.data[split], packed=self.arguments.packed)

    def numbered(self, rows: "Dataset", packed: bool = False, with_documents: bool = False) -> "Dataset":
        """Returns documents, cut into rows, with the number by which the masks of each row are drawn."""
        encoder, size = MaskedEncoder(self.tokenizer), self.block_size

        def make(batch: dict[str, list[str]], numbers: list[int]) -> dict[str, list[Any]]:
            if packed:
                return encoder.packed(batch["text"], size)
            pieces = encoder.pieces(batch["text"], size)
            documents = pieces.pop("document")
            return pieces | ({"document": [numbers[place] for place in documents]} if with_documents else {})

        cut: Any = in_batches(rows, make, encoder, size, packed, with_documents, numbered=True)
        if hasattr(cut, "__len__"):
            return cut.add_column("example", np.arange(len(cut)))
        return cut.map(lambda batch, numbers: {"example": numbers}, with_indices=True, batched=True)

    def pairs(self, rows: "Dataset") -> "Dataset":
        """Returns pairs of segments, as BERT built them; they are the same in every epoch, and their masks are not."""
        encoder = MaskedEncoder(self.tokenizer)
        split = in_batches(rows, lambda batch: encoder.sentences(batch["text"]), encoder)
        split = split.filter(lambda documents: list(map(bool, documents)), input_columns=["tokens"], batched=True)
        return next_sentence_rows(split, self.tokenizer, self.block_size, self.config.type_vocab_size, self.seed)

    def collator(self) -> MaskedLMCollator:
        """Extends `Task.collator`."""
        arguments, encoder = self.arguments, MaskedEncoder(self.tokenizer)
        return MaskedLMCollator(
            self.tokenizer.mask_token_id,
            encoder.ordinary_ids(),
            int(self.config.pad_token_id or 0),
            arguments.mlm_probability,
            arguments.masking,
            self.seed,
            numbers={"next_sentence_label": -100} if arguments.next_sentence else None,
            has_types=arguments.next_sentence,
        )

    def validation_losses(self, model: Any, piece: dict[str, Tensor], items: dict[str, Tensor]) -> dict[str, Tensor]:
        """Extends `Objective.validation_losses`: the part of the masked tokens that is right, and of the pairs."""
        outputs, _, losses, right = measured(model, piece)
        loss, accuracy = (of.sum() / items["num_items_in_batch"] for of in (losses, right))
        if not self.arguments.next_sentence:
            return {"loss": loss, "accuracy": accuracy}
        logits = model.sentence_logits(outputs, piece["attention_mask"])
        answers, pairs = piece["next_sentence_label"], items["num_sequences_in_batch"]
        of_pairs = token_cross_entropy(logits, answers, num_items_in_batch=pairs)
        right_pairs = (logits.argmax(-1) == answers).sum() / pairs
        return dict(zip(self.losses, (loss, accuracy, loss + of_pairs, of_pairs, right_pairs), strict=True))

    def test_rows(self, rows: "Dataset") -> "Dataset":
        """Extends `LanguageModelTask.test_rows`."""
        return self.numbered(rows, with_documents=True)

    def predict(self, model: Any, rows: "Dataset", accelerator: Accelerator, final: bool) -> list[Any]:
        """Extends `LanguageModelTask.predict`: with `next_sentence`, a prediction is that for a pair of segments."""
        if not self.arguments.next_sentence:
            return super().predict(model, rows, accelerator, final)

        def chances(outputs: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
            logits = model.sentence_logits(outputs, inputs["attention_mask"])
            return [*logits.log_softmax(-1).unbind(-1), inputs["next_sentence_label"]]

        batch_size = self.arguments.evaluation_batch_size
        found = likelihoods(model, self.pairs(rows), self.collator(), batch_size, accelerator, chances)
        pairs = zip(of_rows(*found.T[:3]), *found.T[3:].tolist(), strict=True)
        return [
            row
            | {"next_sentence_loss": -(follows, random)[int(label)], "random": math.exp(random), "label": int(label)}
            for row, follows, random, label in pairs
        ]

    def score(self, predictions: list[dict[str, Any]], rows: "Dataset") -> dict[str, Any]:
        """Extends `Task.score`: the mean loss of a masked token, its exponential, and how many of them are right.

        With `next_sentence` also the mean loss of a pair, and how many pairs are right; `loss` is then the sum.
        """
        tokens = sum(prediction["tokens"] for prediction in predictions)
        if not tokens:
            raise ValueError(
                "no token of the test data is masked, so there is nothing to score: give more test data, or a greater "
                "--mlm_probability"
            )
        loss, accuracy = (
            sum(prediction[name] * prediction["tokens"] for prediction in predictions) / tokens
            for name in ("loss", "accuracy")
        )
        scores = {"loss": loss, "perplexity": perplexity(loss), "accuracy": accuracy}
        if not self.arguments.next_sentence:
            return scores
        of_pairs = sum(prediction["next_sentence_loss"] for prediction in predictions) / len(predictions)
        right = sum((prediction["random"] > 0.5) == prediction["label"] for prediction in predictions)
        more = {"next_sentence_loss": of_pairs, "next_sentence_accuracy": right / len(predictions)}
        return scores | {"masked_lm_loss": loss, "loss": loss + of_pairs} | more

    def identity(self) -> dict[str, Any]:
        """Extends `Task.identity`."""
        names = ("masking", "mlm_probability", "packed", "next_sentence")
        return super().identity() | {f"objective.{name}": getattr(self.arguments, name) for name in names}
