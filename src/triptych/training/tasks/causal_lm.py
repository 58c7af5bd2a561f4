"""The task of causal language modelling: from documents to a model that continues them, scored by perplexity."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...data.documents import CausalEncoder
from ...data.objectives.causal import CausalLMCollator, pack, pieces_of
from ...modeling import TriptychDecoderForCausalLM
from ...tokenization import begin_texts
from ..arguments import option
from ..metrics import load_metric
from ..vocabulary import Tokenizers
from .language_model import DocumentArguments, LanguageModelTask, in_batches

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(kw_only=True)
class CausalLMArguments(DocumentArguments):
    """Documents, and whether several of them share a row."""

    one_document_per_row: bool = option(
        False,
        "Give each document rows of its own. Otherwise several documents stand in a row, and do not see each other.",
    )


class CausalLMTask(LanguageModelTask):
    """Learns to predict each token of a document from those before it; see `Task`."""

    arguments_class = CausalLMArguments
    model_classes: ClassVar = {"decoder": TriptychDecoderForCausalLM}
    default_preset = "gpt2"
    objective = "language-modelling"
    title = "language modelling"
    pipeline_tag = "text-generation"
    scores = ("loss", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "accuracy")

    arguments: CausalLMArguments

    @property
    def is_packed(self) -> bool:
        """Whether several documents share a row."""
        return not self.arguments.one_document_per_row

    def train_tokenizers(self) -> Tokenizers:
        """Extends `Task.train_tokenizers`: it writes the start token, so that prompts begin as documents."""
        tokenizer, other = super().train_tokenizers()
        begin_texts(tokenizer)
        return tokenizer, other

    def rows(self, split: str) -> "Dataset":
        """Extends `Task.rows`: documents, cut into rows or packed into rows; no token is lost."""
        encode, size, is_packed = CausalEncoder(self.tokenizer), self.block_size, self.is_packed

        def make(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
            documents = encode(batch["text"])
            if is_packed:
                return pack(documents, size)
            return {"input_ids": [piece for document in documents for piece in pieces_of(document, size)]}

        return in_batches(self.data[split], make, encode, size, is_packed)

    def collator(self) -> CausalLMCollator:
        """Extends `Task.collator`."""
        return CausalLMCollator(int(self.config.pad_token_id or 0), self.is_packed)

    def test_collator(self) -> CausalLMCollator:
        """Extends `LanguageModelTask.test_collator`: each document has rows of its own."""
        return CausalLMCollator(int(self.config.pad_token_id or 0))

    def test_rows(self, rows: "Dataset") -> "Dataset":
        """Extends `LanguageModelTask.test_rows`."""
        encode, size = CausalEncoder(self.tokenizer), self.block_size

        def make(batch: dict[str, list[str]], numbers: list[int]) -> dict[str, list[Any]]:
            pieces = [pieces_of(document, size) for document in encode(batch["text"])]
            return {
                "input_ids": [piece for of_document in pieces for piece in of_document],
                "document": [n for n, of_document in zip(numbers, pieces, strict=True) for _ in of_document],
            }

        return in_batches(rows, make, encode, size, numbered=True)

    def score(self, predictions: list[dict[str, Any]], rows: "Dataset") -> dict[str, Any]:
        """Extends `Task.score`: perplexities, and how many tokens were the most probable one."""
        tokens = [prediction["tokens"] for prediction in predictions]
        losses = [prediction["loss"] * prediction["tokens"] for prediction in predictions]
        scores = load_metric("perplexity").compute(predictions=losses, tokens=tokens, references=rows["text"][:])
        right = sum(prediction["accuracy"] * prediction["tokens"] for prediction in predictions)
        return {**scores, "accuracy": right / sum(tokens)}

    def identity(self) -> dict[str, Any]:
        """Extends `LanguageModelTask.identity`."""
        return super().identity() | {"data.one_document_per_row": self.arguments.one_document_per_row}
