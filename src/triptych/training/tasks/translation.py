"""The task of translation: from pairs of sentences to a translator, scored by BLEU and chrF."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from accelerate import Accelerator
from torch import Tensor

from ...data import TranslationCollator, add_copies, tokenize_pairs
from ...data.targets import around_targets
from ...data.tokenize import SAMPLE
from ...modeling import TriptychForConditionalGeneration
from ...modeling.losses import token_cross_entropy
from ...tokenization import complete_for_translation, set_languages, special_token_config, train_tokenizer
from ...tokenization.languages import has_languages
from ..arguments import option
from ..data_options import PairOptions, several
from ..task import Task
from ..task_arguments import TaskArguments
from ..translate import score_translations, translate
from ..vocabulary import Tokenizers

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@dataclass(kw_only=True)
class TranslationArguments(PairOptions, TaskArguments):
    """
    The data, the tokenizer, the size of an update and how to translate.

    Raises:
        ValueError: there are no data, or several sources of data; or an option is out of range.
    """

    other_sources: ClassVar[tuple[str, ...]] = ("corpus",)

    train_file: list[str] | None = field(
        default=None,
        metadata=several(
            "Pairs to learn from: one or more tsv, csv, jsonl, json or parquet files, or two plain text files, source "
            "and target, a sentence per line."
        ),
    )
    validation_file: list[str] | None = field(default=None, metadata=several("Pairs to watch the training by."))
    test_file: list[str] | None = field(default=None, metadata=several("Pairs to score the result on."))
    corpus: str | None = option(None, "Instead of files: a corpus that ships with the package, en-de.")
    copied_targets: float = option(
        0.0,
        "Part of the targets that are learnt as their own translations, too, so that names and numbers are copied.",
    )

    tokenizer: str | None = option(
        None,
        "Directory or name of a tokenizer, or a SentencePiece model; without it, that of the checkpoint is used, or "
        "one is trained. One without padding token gets <pad>; one that does not end its targets has its end token "
        "appended to them.",
    )
    source_lang: str | None = option(
        None, "Language of the sources, where the tokenizer has language codes (default: what it is set to)."
    )
    target_lang: str | None = option(None, "Language of the targets, likewise.")
    vocab_size: int = option(8000, "Tokens of the tokenizer that is trained (of each, with separate_vocabularies).")
    separate_vocabularies: bool = option(False, "Train one tokenizer for each language, instead of a joint one.")
    max_sentence_length: int | None = option(
        None, "Most tokens of a source or target; by default what the positions of the model allow."
    )
    overlong: Literal["error", "truncate", "drop"] = option("error", "What to do with pairs longer than that.")

    max_tokens: int = option(
        8192, "Source and target tokens of one update, padding included, over all processes and pieces."
    )
    evaluation_pairs: int = option(500, "Validation pairs that are translated at evaluations, greedily; 0 for none.")
    evaluation_batch_size: int = option(64, "Sentences that are translated at a time.")

    num_beams: int = option(4, "Beams of the finished translator.")
    gnmt_length_penalty: float = option(0.6, "Its length penalty, the alpha of section 6.1.")
    max_length_beyond_source: int = option(50, "Its longest translation: the source's length and so many tokens.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.tokenizer or self.model) and (self.source_lang or self.target_lang):
            raise ValueError("source_lang and target_lang are codes of a tokenizer: name one with --tokenizer")
        if not 0 <= self.copied_targets <= 1:
            raise ValueError(f"copied_targets={self.copied_targets} must be in [0, 1]")
        self.check_at_least(1, "num_beams", "max_sentence_length")
        self.check_at_least(0, "evaluation_pairs", "max_length_beyond_source")
        if not math.isfinite(self.gnmt_length_penalty):
            raise ValueError(f"gnmt_length_penalty={self.gnmt_length_penalty} must be finite")


class TranslationTask(Task):
    """Learns to translate from pairs; see `Task`. With label smoothing, the smoothed loss is a metric, too."""

    arguments_class = TranslationArguments
    model_classes: ClassVar = {"encoder-decoder": TriptychForConditionalGeneration}
    default_preset = "transformer-base"
    objective = "translation"
    unit = "pairs"
    text_columns = ("source", "target")
    sides: ClassVar = {"source": "input_ids", "target": "labels"}
    losses = ("loss", "smoothed_loss")
    scores = ("bleu", "chrf")
    predictions_file = "test_translations.txt"

    arguments: TranslationArguments

    def named_tokenizers(self) -> Tokenizers | None:
        """Extends `Task.named_tokenizers`: adds what translation needs, and sets the languages."""
        named = super().named_tokenizers()
        if named is not None:
            for side in named:
                if side is not None:
                    complete_for_translation(side)
            set_languages(*named, self.arguments.source_lang, self.arguments.target_lang)
            special_token_config(*named)  # refuses a tokenizer that lacks a token
        return named

    def load_data(self, seed: int) -> tuple["DatasetDict", Sequence[str]]:
        """Extends `Task.load_data`: reads the shipped corpus, too, and adds copied targets."""
        arguments = self.arguments
        data, remarks = (arguments.read_corpus(arguments.corpus), []) if arguments.corpus else super().load_data(seed)
        if "train" in data:
            data["train"] = add_copies(data["train"], arguments.copied_targets, seed)
        return data, remarks

    def train_tokenizers(self) -> Tokenizers:
        """Extends `Task.train_tokenizers`: one tokenizer for each language, where that is wanted."""
        arguments, train = self.arguments, self.data["train"]
        if not arguments.separate_vocabularies:
            return super().train_tokenizers()
        model, size = arguments.tokenizer_model, arguments.vocab_size
        return train_tokenizer(train["source"][:], model, size), train_tokenizer(train["target"][:], model, size)

    def create_model(self) -> TriptychForConditionalGeneration:
        """Extends `Task.create_model`: the model knows how the finished translator translates."""
        model = super().create_model()
        for name in ("num_beams", "gnmt_length_penalty", "max_length_beyond_source"):
            setattr(model.generation_config, name, getattr(self.arguments, name))
        before, _ = around_targets(self.target_tokenizer or self.tokenizer, self.data["train"][:SAMPLE]["target"])
        # Every target begins with this token (the code of a language, or BART's <s>), so every translation does.
        model.generation_config.forced_bos_token_id = before[0] if before else None
        return model

    def longest(self, stack: str) -> int | None:
        """Returns the most tokens of a sentence on one side, by the model and the options; None: any number."""
        limits = (self.config.stack_config(stack).position_limit, self.arguments.max_sentence_length)
        return min((limit for limit in limits if limit is not None), default=None)

    def rows(self, split: str) -> "Dataset":
        """Extends `Task.rows`: tokenizes both sides; what is too long is refused, cut or left out."""
        source_limit, target_limit = self.longest("encoder."), self.longest("decoder.")
        sides = self.tokenizer, self.target_tokenizer
        rows = tokenize_pairs(self.data[split], *sides, source_limit, target_limit, self.arguments.overlong)
        return rows.select_columns(["input_ids", "labels"])

    def collator(self) -> TranslationCollator:
        """Extends `Task.collator`."""
        return TranslationCollator(int(self.config.pad_token_id or 0))

    def validation_losses(self, model: Any, piece: dict[str, Tensor], items: dict[str, Tensor]) -> dict[str, Tensor]:
        """Extends `Objective.validation_losses`: and, with smoothing, what training minimises."""
        outputs, smoothing = model(**piece, **items), model.config.label_smoothing
        if not smoothing:
            return {"loss": outputs.loss}
        smoothed = token_cross_entropy(outputs.logits, piece["labels"], smoothing, **items)
        return {"loss": outputs.loss, "smoothed_loss": smoothed}

    def evaluation_rows(self) -> "Dataset":
        """Extends `Task.evaluation_rows`: about `evaluation_pairs` pairs, spread over the whole split."""
        pairs, number = self.data["validation"], self.arguments.evaluation_pairs
        return pairs.select(range(0, len(pairs), math.ceil(len(pairs) / number)) if number else [])

    def predict(self, model: Any, rows: "Dataset", accelerator: Accelerator, final: bool) -> list[str]:
        """Extends `Task.predict`: translations, greedy ones at evaluations."""
        return translate(
            model,
            self.tokenizer,
            rows["source"],
            self.target_tokenizer,
            batch_size=self.arguments.evaluation_batch_size,
            accelerator=accelerator,
            **({} if final else {"num_beams": 1}),
        )

    def score(self, predictions: list[str], rows: "Dataset") -> dict[str, Any]:
        """Extends `Task.score`: corpus BLEU and chrF, with their signatures."""
        return score_translations(predictions, rows["target"])

    def languages(self) -> str | None:
        """Returns the languages of tokenizers with language codes, source → target."""
        sides = ((self.tokenizer, "src_lang"), (self.target_tokenizer or self.tokenizer, "tgt_lang"))
        codes = [getattr(side, name) for side, name in sides if has_languages(side)]
        return " → ".join(codes) or None

    def identity(self) -> dict[str, Any]:
        """Extends `Task.identity`."""
        arguments = self.arguments
        trained = {} if arguments.tokenizer else {"separate_vocabularies": arguments.separate_vocabularies}
        return {f"tokenizer.{name}": value for name, value in trained.items()} | {
            "languages": self.languages(),
            "data.overlong": arguments.overlong,
            "data.max_sentence_length": arguments.max_sentence_length,
        }

    def summary(self) -> dict[str, str]:
        """Extends `Task.summary`."""
        languages = self.languages()
        return {"languages": languages} if languages else {}

    def report(self, scores: dict[str, Any]) -> list[str]:
        """Extends `Task.report`: the scores with their signatures."""
        return [
            f"test BLEU {scores['bleu']:.2f} ({scores['bleu_signature']})",
            f"test chrF {scores['chrf']:.2f} ({scores['chrf_signature']})",
        ]
