"""The task of tagging: each word of a sentence gets a tag, such as a part of speech or the name of an entity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from accelerate import Accelerator

from ...data import PaddingCollator
from ...data.arrow import Texts
from ...data.cache import mapped
from ...data.collators import IGNORED
from ...data.quantities import counted
from ...data.words import NO_WORD, Window, WordEncoder
from ...modeling import TriptychDecoderForTokenClassification, TriptychEncoderForTokenClassification
from ...tokenization import train_tokenizer
from ..arguments import option
from ..data_options import TaggedOptions
from ..labels import Labels, checkpoint_names, names_in, shown
from ..limits import longest_row
from ..predictions import predict_in_batches
from ..tag_scores import continued, scoring_of
from ..task import Task
from ..task_arguments import TaskArguments
from ..vocabulary import Tokenizers, complete_for_batches

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

TAGS = "tags"  # the column of the tags


@dataclass(kw_only=True)
class TaggingArguments(TaggedOptions, TaskArguments):
    """
    Tagged sentences, and how they are learnt.

    Raises:
        ValueError: see `TaskArguments`; or an option is out of range.
    """

    label_all_subwords: bool = option(
        False, "Learn the tag of a word at all of its tokens, instead of at the first one alone."
    )
    max_length: int | None = option(
        None,
        "Most tokens that are read at once; by default what the positions of the model allow. Longer sentences are "
        "divided.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(4, "max_length")


class TaggingTask(Task):
    """Learns to tag the words of sentences; see `Task`."""

    arguments_class = TaggingArguments
    model_classes: ClassVar = {
        "encoder": TriptychEncoderForTokenClassification,
        "decoder": TriptychDecoderForTokenClassification,
    }
    default_preset = "bert-base"
    objective = "tagging"
    pipeline_tag = "token-classification"
    unit = "sentences"
    text_columns = ("tokens",)
    covered = TAGS
    derived = {}  # a perplexity is about words
    predictions_file = "test_predictions.jsonl"

    arguments: TaggingArguments
    labels: Labels

    def complete(self, named: Tokenizers) -> None:
        """Extends `Task.complete`: a tokenizer without a padding token gets one."""
        complete_for_batches(named[0])

    def load_data(self, seed: int) -> tuple["DatasetDict", Sequence[str]]:
        """Extends `Task.load_data`: finds the tags, and checks that all of them can be learnt."""
        data, remarks = super().load_data(seed)
        if "train" in data:
            self.labels = Labels(names_in(data["train"], TAGS), checkpoint_names(self.checkpoint))
            self.scoring = scoring_of(self.labels.names)
            self.scores = self.scoring.scores
            for split, rows in data.items():
                self.labels.check(split, rows, TAGS)
        return data, list(remarks)

    def train_tokenizers(self) -> Tokenizers:
        """Extends `Task.train_tokenizers`: the texts are the words with spaces between them."""
        arguments = self.arguments
        texts = Texts(self.data["train"], ["tokens"])
        return train_tokenizer(texts, arguments.tokenizer_model, arguments.vocab_size, self.family), None

    def task_fields(self) -> dict[str, Any]:
        """Extends `Task.task_fields`: the tags."""
        return self.labels.fields()

    @property
    def encoder(self) -> WordEncoder:
        """What turns sentences into windows of tokens."""
        return WordEncoder(self.tokenizer, longest_row(self.config, self.arguments.max_length))

    def rows(self, split: str) -> "Dataset":
        """Extends `Task.rows`: the tokens with the tags of their words; sentences that are too long are divided."""
        data, encoder, numbers = self.data[split], self.encoder, self.labels.numbers
        all_tokens = self.arguments.label_all_subwords

        def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            found = [
                (window, tags)
                for windows, tags in zip(encoder(batch["tokens"]), batch[TAGS], strict=True)
                for window in windows
            ]
            return {
                "input_ids": [window.input_ids for window, _ in found],
                "labels": [targets(window, tags, numbers, all_tokens) for window, tags in found],
            }

        depends_on = ["tagging", encoder, numbers, all_tokens]
        rows = mapped(data, encode, depends_on, batched=True, remove_columns=data.column_names, desc="tokenizing")
        if len(rows) > len(data):
            sentences = counted(len(data), "sentences are", one="sentence is")
            told = f"{split}: {sentences} read in {counted(len(rows), 'parts')}, because some are too long"
            self.remarks = [*self.remarks, told]
        return rows

    def collator(self) -> PaddingCollator:
        """Extends `Task.collator`."""
        fills = {"input_ids": int(self.config.pad_token_id or 0), "labels": IGNORED}
        return PaddingCollator(fills, {"input_ids": "attention_mask"})

    def predict(self, model: Any, rows: "Dataset", accelerator: Accelerator, final: bool) -> list[dict[str, Any]]:
        """Extends `Task.predict`: the tag of each word is the most probable one at its first token."""
        encoder, size = self.encoder, self.arguments.evaluation_batch_size
        collate = PaddingCollator({"input_ids": int(self.config.pad_token_id or 0)}, {"input_ids": "attention_mask"})

        def tagged(batch: dict[str, list[Any]]) -> list[dict[str, Any]]:
            answers = [{"tokens": list(tokens), TAGS: [""] * len(tokens)} for tokens in batch["tokens"]]
            windows = [
                (answer[TAGS], window)
                for answer, of_sentence in zip(answers, encoder(batch["tokens"]), strict=True)
                for window in of_sentence
            ]
            for start in range(0, len(windows), size):
                part = windows[start : start + size]
                inputs = collate([{"input_ids": window.input_ids} for _, window in part])
                best = model(**{name: tensor.to(model.device) for name, tensor in inputs.items()}).logits.argmax(-1)
                for numbers, (tags, window) in zip(best.tolist(), part, strict=True):
                    for word, position in window.firsts().items():
                        tags[word] = self.labels.names[numbers[position]]
            return answers

        return predict_in_batches(tagged, rows, size, accelerator)

    def score(self, predictions: list[dict[str, Any]], rows: "Dataset") -> dict[str, Any]:
        """Extends `Task.score`: of entities if the tags mark them, else of each tag."""
        given = [answer[TAGS] for answer in predictions]
        right = [[self.labels.name_of(tag) for tag in tags] for tags in rows[TAGS][:]]
        return self.scoring.score(given, right)

    def identity(self) -> dict[str, Any]:
        """Extends `Task.identity`."""
        return {f"data.{name}": getattr(self.arguments, name) for name in ("label_all_subwords", "max_length")}

    def summary(self) -> dict[str, str]:
        """Extends `Task.summary`: the tags."""
        return {"tags": shown(self.labels.names)}


def targets(window: Window, tags: Sequence[str], numbers: Mapping[str, int], all_tokens: bool) -> list[int]:
    """Returns the number of the tag at each token of a window; -100 where none is learnt.

    Args:
        tags: those of all words of the sentence.
        all_tokens: whether a tag is learnt at all tokens of its word, and not only at the first one.
    """
    firsts = set(window.firsts().values())
    found = []
    for position, word in enumerate(window.words):
        if position in firsts:
            found.append(numbers[tags[word]])
        elif word != NO_WORD and all_tokens:
            found.append(numbers[continued(tags[word], numbers)])
        else:
            found.append(IGNORED)
    return found
