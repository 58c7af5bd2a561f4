"""The options that every training task has: its data, its model, its tokenizer, and the size of an update."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from ..data.corpus import SPLITS
from ..data.sieve import Counts
from .arguments import option
from .data_options import DataOptions, several

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass(kw_only=True)
class TaskArguments(DataOptions):
    """
    The options that a task adds to those of the loop. A task extends this class, and one that says what its columns
    are (`PairOptions`, `TextOptions`).

    Raises:
        ValueError: there are no data, or several sources of data, or a number is out of range.
    """

    other_sources: ClassVar[tuple[str, ...]] = ()  # options that name data, beside the files and `dataset_name`

    train_file: list[str] | None = field(default=None, metadata=several("Files to learn from."))
    validation_file: list[str] | None = field(default=None, metadata=several("Files to watch the training by."))
    test_file: list[str] | None = field(default=None, metadata=several("Files to score the result on."))

    validation_split: float = option(
        0.05,
        "Part of the training data that is held out for validation where there are no validation data: at most 1,000 "
        "rows; 0 for none.",
    )

    model: str | None = option(
        None,
        "Checkpoint to start from: a directory or a repository, of Triptych or of any public architecture that it can "
        "convert. Its tokenizer is used, too.",
    )
    preset: str | None = option(
        None,
        "Published size of a new model, such as transformer-base (`triptych zoo` lists them); the fields at the end "
        "of this help change it. Without --preset and --model, a size that suits the data, the device and the time is "
        "chosen, with the size of an update, the optimizer and the schedule.",
    )
    tokenizer: str | None = option(
        None,
        "Directory or name of a tokenizer, or a SentencePiece model; without it, that of the checkpoint is used, or "
        "one is trained. With --model, tokens that both have keep what is learnt of them.",
    )
    tokenizer_model: Literal["bpe", "wordpiece", "unigram", "unigram-bytes", "word", "character"] = option(
        "bpe", "Model of the tokenizer that is trained."
    )
    vocab_size: int = option(8000, "Tokens of the tokenizer that is trained.")

    freeze: list[str] | None = field(
        default=None,
        metadata=several("Parameters that are not trained: names, in which * stands for any text (model.layers.0.*)."),
    )
    lora_rank: int | None = option(
        None,
        "Train only small additions of this rank to the weights (LoRA), and new weights. At the end, they are merged "
        "into the model. Usual are 8 and 16.",
    )
    lora_alpha: int | None = option(
        None,
        "Strength of LoRA: the additions are multiplied by this number divided by the rank (default: twice the rank).",
    )
    lora_dropout: float = option(0.0, "Dropout before the additions of LoRA.")
    to_hf: bool = option(
        False, "At the end, also write the model as transformers' own class, such as Marian or BERT, in OUTPUT_DIR/hf."
    )

    max_tokens: int = option(8192, "Tokens of one update, padding included, over all processes and pieces.")
    evaluation_batch_size: int = option(64, "Rows that are predicted at a time.")
    dry_run: bool = option(False, "Print sizes, updates, memory and a forecast; train and write nothing.")

    def __post_init__(self) -> None:
        files = self.train_file or self.validation_file or self.test_file
        named = [name for name in ("dataset_name", *self.other_sources) if getattr(self, name)]
        given = named + (["files"] if files else [])
        if not given:
            options = ", ".join(f"--{name}" for name in ("train_file", "dataset_name", *self.other_sources))
            raise ValueError(f"there are no data: give one of {options}")
        if len(given) > 1:
            raise ValueError(f"give one source of data, not {' and '.join(given)}")
        if files and not self.train_file:
            raise ValueError("--train_file is missing")
        if self.model and self.preset:
            raise ValueError(
                f"--model {self.model} and --preset {self.preset} contradict each other: give one of them"
            )
        self.check_at_least(1, "vocab_size", "max_tokens", "evaluation_batch_size", "lora_rank")
        if not 0 <= self.validation_split < 1:
            raise ValueError(f"validation_split={self.validation_split} must lie in [0, 1)")

    def check_at_least(self, least: int, *names: str) -> None:
        """Raises ValueError if one of the options is given and smaller than `least`."""
        for name in names:
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")

    def read_data(self) -> tuple["DatasetDict", dict[str, Counts]]:
        """Reads the splits that are named, and counts their rows; see `DataOptions.read`."""
        return self.read({split: getattr(self, f"{split}_file") for split in SPLITS})
