"""The task of summarization: from texts and their summaries to a model that writes summaries, scored by ROUGE."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..arguments import option
from ..data_options import DataOptions
from ..metrics import load_metric
from .text_to_text import TextToTextArguments, TextToTextTask

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(kw_only=True)
class SummaryOptions(DataOptions):
    """Rows with a text and its summary."""

    text_column: str = option("text", "Column of the texts.")
    summary_column: str = option("summary", "Column of their summaries.")

    def columns(self) -> dict[str, Any]:
        """Extends `DataOptions.columns`."""
        return {"text_column": self.text_column, "summary_column": self.summary_column}


@dataclass(kw_only=True)
class SummarizationArguments(SummaryOptions, TextToTextArguments):
    """
    The data, the lengths of texts and summaries, and how summaries are written.

    Raises:
        ValueError: there are no data, or several sources of data; or an option is out of range.
    """

    max_source_length: int = option(1024, "Most tokens of a text; the model reads no more of it.")
    max_target_length: int = option(256, "Most tokens of a summary that is learnt.")
    overlong: Literal["error", "truncate", "drop"] = option(
        "truncate",
        "What to do with rows whose text or summary is longer than max_source_length or max_target_length, or than "
        "the model allows.",
    )
    max_new_tokens: int | None = option(
        None, "Most tokens of a summary that is written (default: those of the checkpoint, else max_target_length)."
    )
    rouge_words: Literal["ascii", "unicode"] = option(
        "ascii",
        "Words that ROUGE compares: ascii, as published (it drops all letters but a to z); unicode: those of all "
        "languages.",
    )
    rouge_stemmer: bool = option(False, "Compare English words without their endings in ROUGE.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "max_source_length", "max_target_length", "max_new_tokens")
        if self.rouge_stemmer and self.rouge_words != "ascii":
            raise ValueError("rouge_stemmer is for English words; leave it out, or give --rouge_words ascii")


class SummarizationTask(TextToTextTask):
    """Learns to write summaries of texts; see `TextToTextTask`."""

    arguments_class = SummarizationArguments
    objective = pipeline_tag = "summarization"
    unit = "texts"
    text_columns = ("text", "summary")
    scores = ("rouge1", "rouge2", "rougeL", "rougeLsum")
    decisive = "rougeL"

    arguments: SummarizationArguments

    def check(self) -> None:
        """Extends `Task.check`: the library of the metric must be there at the first evaluation."""
        super().check()
        load_metric("rouge")

    def usual_generation(self, config: Any) -> dict[str, Any]:
        """Extends `TextToTextTask.usual_generation`: a summary may be as long as those that are learnt."""
        limit, given = config.stack_config("decoder.").position_limit, self.arguments.max_new_tokens
        longest = self.arguments.max_target_length
        if limit is not None:
            longest = min(longest, limit - 1)  # one position is for the token that starts the decoder
            if given is not None and given > limit - 1:
                raise ValueError(f"max_new_tokens={given} is too much: the decoder has {limit} positions")
        return super().usual_generation(config) | {"max_new_tokens": longest}

    def wanted_limits(self) -> tuple[int | None, int | None]:
        """Extends `TextToTextTask.wanted_limits`."""
        return self.arguments.max_source_length, self.arguments.max_target_length

    @property
    def longest_input(self) -> int | None:
        """Extends `TextToTextTask.longest_input`: a text is cut where it was cut in training."""
        return self.arguments.max_source_length

    def score(self, predictions: list[str], rows: "Dataset") -> dict[str, Any]:
        """Extends `Task.score`: the F-scores of ROUGE, 0 to 1, and how its words were made."""
        words, stemmer = self.arguments.rouge_words, self.arguments.rouge_stemmer
        scores: dict[str, Any] = load_metric("rouge").compute(
            predictions=predictions, references=list(rows["summary"]), words=words, use_stemmer=stemmer
        )
        return scores | {"rouge_words": words, "rouge_stemmer": stemmer}

    def identity(self) -> dict[str, Any]:
        """Extends `TextToTextTask.identity`."""
        lengths = ("max_source_length", "max_target_length")
        return super().identity() | {f"data.{name}": getattr(self.arguments, name) for name in lengths}
