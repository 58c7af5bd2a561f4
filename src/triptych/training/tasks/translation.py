"""The task of translation: from pairs of sentences to a translator, scored by BLEU and chrF."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ...data import add_copies
from ...data.arrow import Texts
from ...tokenization import set_languages, train_tokenizer
from ...tokenization.languages import has_languages
from ..arguments import option
from ..data_options import PairOptions, several
from ..translate import score_translations
from ..vocabulary import Tokenizers
from .text_to_text import TextToTextArguments, TextToTextTask

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@dataclass(kw_only=True)
class TranslationArguments(PairOptions, TextToTextArguments):
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
        "Part of the targets that the model also learns to copy, each as the translation of itself, so that it "
        "copies names and numbers.",
    )

    source_lang: str | None = option(
        None, "Language of the sources, where the tokenizer has language codes (default: what it is set to)."
    )
    target_lang: str | None = option(
        None, "Language of the targets, where the tokenizer has language codes (default: what it is set to)."
    )
    vocab_size: int = option(8000, "Tokens of the tokenizer that is trained (of each, with separate_vocabularies).")
    separate_vocabularies: bool = option(False, "Train one tokenizer for each language, instead of a joint one.")
    max_sentence_length: int | None = option(
        None, "Most tokens of a source or target; by default what the positions of the model allow."
    )

    max_length_beyond_source: int | None = option(
        None,
        "Tokens that a translation of the finished model may have more than its source (default: as the checkpoint "
        "says, else 50).",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.tokenizer or self.model) and (self.source_lang or self.target_lang):
            raise ValueError("source_lang and target_lang are codes of a tokenizer: name one with --tokenizer")
        if not 0 <= self.copied_targets <= 1:
            raise ValueError(f"copied_targets={self.copied_targets} must be in [0, 1]")
        self.check_at_least(1, "max_sentence_length")
        self.check_at_least(0, "max_length_beyond_source")


class TranslationTask(TextToTextTask):
    """Learns to translate from pairs; see `TextToTextTask`."""

    arguments_class = TranslationArguments
    objective = pipeline_tag = "translation"
    unit = "pairs"
    text_columns = ("source", "target")
    scores = ("bleu", "chrf")
    decisive = "bleu"
    predictions_file = "test_translations.txt"

    arguments: TranslationArguments

    def usual_generation(self, config: Any) -> dict[str, Any]:
        """Extends `TextToTextTask.usual_generation`: as long as in section 6.1 of the paper."""
        return super().usual_generation(config) | {"max_length_beyond_source": 50}

    def complete(self, named: Tokenizers) -> None:
        """Extends `TextToTextTask.complete`: the languages."""
        super().complete(named)
        set_languages(*named, self.arguments.source_lang, self.arguments.target_lang)

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
        source, target = (train_tokenizer(Texts(train, [side]), model, size) for side in self.text_columns)
        return source, target

    def wanted_limits(self) -> tuple[int | None, int | None]:
        """Extends `TextToTextTask.wanted_limits`: one number for both sides."""
        return self.arguments.max_sentence_length, self.arguments.max_sentence_length

    def score(self, predictions: list[str], rows: "Dataset") -> dict[str, Any]:
        """Extends `Task.score`: corpus BLEU and chrF, with their signatures."""
        return score_translations(predictions, rows["target"])

    def languages(self) -> str | None:
        """Returns the languages of tokenizers with language codes, source → target."""
        sides = ((self.tokenizer, "src_lang"), (self.target_tokenizer or self.tokenizer, "tgt_lang"))
        codes = [getattr(side, name) for side, name in sides if has_languages(side)]
        return " → ".join(codes) or None

    def language_codes(self) -> list[str]:
        """Extends `Task.language_codes`: those of the tokenizers (eng_Latn), or of the shipped corpus (en-de)."""
        codes = (self.languages() or (self.arguments.corpus or "").replace("-", " → ")).split(" → ")
        return [code.partition("_")[0] for code in codes if code]

    def identity(self) -> dict[str, Any]:
        """Extends `TextToTextTask.identity`."""
        arguments = self.arguments
        given = arguments.tokenizer or arguments.model
        trained = {} if given else {"separate_vocabularies": arguments.separate_vocabularies}
        return {f"tokenizer.{name}": value for name, value in trained.items()} | {
            **super().identity(),
            "languages": self.languages(),
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
