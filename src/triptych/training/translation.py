"""The task of translation: from pairs of sentences to a directory that holds a trained and evaluated translator."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, set_seed
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..configuration import TriptychConfig
from ..data import (
    TokenBudgetBatchSampler,
    TranslationBatches,
    TranslationCollator,
    add_copies,
    tokenize_pairs,
)
from ..data.corpus import SPLITS
from ..data.sieve import Counts, told
from ..data.targets import around_targets
from ..data.tokenize import SAMPLE
from ..files import write_json, write_text
from ..modeling import TriptychForConditionalGeneration
from ..tokenization import (
    complete_for_translation,
    fingerprint_of,
    load_tokenizers,
    save_tokenizers,
    set_languages,
    special_token_config,
    train_tokenizer,
)
from ..tokenization.languages import has_languages
from .accelerator import create_accelerator
from .arguments import LoopArguments, option
from .command_line import OptionParser, add_config_options
from .data_options import DataOptions, several
from .loop import TrainingLoop, TrainingResult
from .recipe import add_recipe_option
from .record import claim
from .run import check_output_dir
from .translate import TranslationEvaluation, one_line, score_translations, translate

if TYPE_CHECKING:
    from datasets import DatasetDict

T = TypeVar("T")
TEST_METRICS, TEST_TRANSLATIONS = "test_metrics.json", "test_translations.txt"


@dataclass
class TranslationArguments(DataOptions):
    """
    The data, the tokenizer, the size of an update and how to translate.

    Raises:
        ValueError: no data, or several sources of data at once.
    """

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

    preset: str = option("transformer-base", "Published size to start from; every field of it can be given, too.")
    tokenizer: str | None = option(
        None,
        "Directory or name of a tokenizer, or a SentencePiece model; without it, one is trained. One without padding "
        "token gets <pad>; one that does not end its targets has its end token appended to them.",
    )
    source_lang: str | None = option(
        None, "Language of the sources, where the tokenizer has language codes (default: what it is set to)."
    )
    target_lang: str | None = option(None, "Language of the targets, likewise.")
    tokenizer_model: Literal["bpe", "wordpiece", "unigram", "unigram-bytes", "word", "character"] = option(
        "bpe", "Model of the tokenizer that is trained."
    )
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
        files = self.train_file or self.validation_file or self.test_file
        given = [name for name in ("dataset_name", "corpus") if getattr(self, name)] + (["files"] if files else [])
        if not given:
            raise ValueError("there are no data: give --train_file, --dataset_name or --corpus en-de")
        if len(given) > 1:
            raise ValueError(f"give one source of data, not {' and '.join(given)}")
        if files and not self.train_file:
            raise ValueError("--train_file is missing")
        if not self.tokenizer and (self.source_lang or self.target_lang):
            raise ValueError("source_lang and target_lang are codes of a tokenizer: name one with --tokenizer")
        if not 0 <= self.copied_targets <= 1:
            raise ValueError(f"copied_targets={self.copied_targets} must be in [0, 1]")
        for name in ("vocab_size", "max_tokens", "evaluation_batch_size", "num_beams", "max_sentence_length"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("evaluation_pairs", "max_length_beyond_source"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0")
        if not math.isfinite(self.gnmt_length_penalty):
            raise ValueError(f"gnmt_length_penalty={self.gnmt_length_penalty} must be finite")


def load_translation_data(arguments: TranslationArguments) -> tuple["DatasetDict", dict[str, Counts]]:
    """The splits that there are, with the columns `source` and `target`, and the numbers of their rows."""
    if arguments.corpus:
        return arguments.read_corpus(arguments.corpus), {}
    return arguments.read({split: getattr(arguments, f"{split}_file") for split in SPLITS})


def translation_losses(model: Any, piece: dict[str, Tensor], items: Tensor) -> dict[str, Tensor]:
    """`loss`, the negative log-likelihood, and `smoothed_loss`, what training minimises if labels are smoothed."""
    outputs, smoothing = model(**piece, num_items_in_batch=items), model.config.label_smoothing
    smoothed = {"smoothed_loss": model.token_loss(outputs.logits, piece["labels"], items, smoothing)}
    return {"loss": outputs.loss} | (smoothed if smoothing else {})


class TranslationTraining:
    """
    Everything that a training run of a translator consists of, put together; `run()` does it.

    Attributes: `data` (the pairs), `tokenizer` and `target_tokenizer` (None: the same), `config`, `model`,
    `train_batches`, `loop`.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: see the parts; each names the option and the remedy.
    """

    def __init__(
        self, arguments: TranslationArguments, loop_arguments: LoopArguments, config_fields: dict[str, Any]
    ) -> None:
        check_output_dir(loop_arguments.output_dir, loop_arguments.resume, loop_arguments.overwrite)
        self.arguments, self.loop_arguments = arguments, loop_arguments
        TriptychConfig.from_preset(arguments.preset, **config_fields)  # a mistake is better told before long work
        named = named_tokenizers(arguments)
        self.accelerator = create_accelerator(**loop_arguments.accelerator_options())
        self.data, self.counts = load_translation_data(arguments)
        if "train" not in self.data:
            raise ValueError(f"the data have no split to train on; they have {', '.join(self.data)}")
        self.check_metrics()
        self.data["train"] = add_copies(self.data["train"], arguments.copied_targets, loop_arguments.seed)
        self.tokenizer, self.target_tokenizer = named or self.tokenizers()
        derived = special_token_config(self.tokenizer, self.target_tokenizer)
        for name in config_fields.keys() & derived.keys():
            if config_fields[name] != derived[name]:
                raise ValueError(
                    f"{name}={config_fields[name]}: the tokenizer gives {derived[name]}; leave {name} out"
                )
        self.config = TriptychConfig.from_preset(arguments.preset, **(config_fields | derived))

        set_seed(loop_arguments.seed)
        self.model = TriptychForConditionalGeneration(self.config)
        for name in ("num_beams", "gnmt_length_penalty", "max_length_beyond_source"):
            setattr(self.model.generation_config, name, getattr(arguments, name))
        before, _ = around_targets(self.target_tokenizer or self.tokenizer, self.data["train"][:SAMPLE]["target"])
        # Every target begins with this token (a language's code, BART's <s>), so every translation does.
        self.model.generation_config.forced_bos_token_id = before[0] if before else None
        self.train_batches = self.batches("train", shuffle=True)
        has_validation = "validation" in self.data
        if not has_validation:
            loop_arguments.best_metric = None
        self.loop = TrainingLoop(
            self.model,
            loop_arguments,
            self.train_batches,
            validation_batches=self.batches("validation", shuffle=False) if has_validation else None,
            evaluate=self.evaluation() if has_validation and arguments.evaluation_pairs > 0 else None,
            compute_validation_losses=translation_losses,
            identity=self.identity(),
            save_extras=lambda directory: save_tokenizers(directory, self.tokenizer, self.target_tokenizer),
            accelerator=self.accelerator,
        )

    def check_metrics(self) -> None:
        """Says before any long work whether the evaluations will give the metric that is asked for.

        Raises:
            ValueError: they will not, or there are none.
        """
        metric = self.loop_arguments.best_metric
        if "validation" not in self.data:
            if self.loop_arguments.final_weights == "best":
                raise ValueError("final_weights=best needs validation data by which the best are known")
            return
        known = ["validation_loss", "validation_smoothed_loss", "validation_perplexity"]
        known += ["bleu", "chrf"] if self.arguments.evaluation_pairs else []
        if metric is not None and metric not in known:
            raise ValueError(f"best_metric={metric!r} is not among the metrics of an evaluation: {', '.join(known)}")

    def tokenizers(self) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase | None]:
        """The tokenizer(s) of the run that is resumed, or trained on the data."""
        arguments, output_dir = self.arguments, Path(self.loop_arguments.output_dir)
        if self.loop_arguments.resume and (output_dir / "tokenizer_config.json").is_file():
            return load_tokenizers(output_dir)
        train = self.data["train"]

        def texts(*columns: str) -> Iterator[str]:
            return chain.from_iterable(train[column][:] for column in columns)

        def fit(*columns: str) -> PreTrainedTokenizerBase:
            return train_tokenizer(texts(*columns), arguments.tokenizer_model, arguments.vocab_size)

        if arguments.separate_vocabularies:
            return on_main_process(self.accelerator, lambda: (fit("source"), fit("target")))
        return on_main_process(self.accelerator, lambda: (fit("source", "target"), None))

    def languages(self) -> str | None:
        """Of a tokenizer with language codes, which it is set to: source → target."""
        sides = ((self.tokenizer, "src_lang"), (self.target_tokenizer or self.tokenizer, "tgt_lang"))
        codes = [getattr(side, name) for side, name in sides if has_languages(side)]
        return " → ".join(codes) or None

    def longest(self, stack: str) -> int | None:
        """The most tokens of a sentence on one side: what the model and the options allow; None: any number."""
        limits = (self.config.stack_config(stack).position_limit, self.arguments.max_sentence_length)
        return min((limit for limit in limits if limit is not None), default=None)

    def batches(self, split: str, shuffle: bool) -> TranslationBatches:
        source_limit, target_limit = (self.longest(side) for side in ("encoder.", "decoder."))
        try:
            rows = tokenize_pairs(
                self.data[split],
                self.tokenizer,
                self.target_tokenizer,
                source_limit,
                target_limit,
                self.arguments.overlong,
            )
            sampler = TokenBudgetBatchSampler(
                rows["source_length"],
                rows["target_length"],
                self.arguments.max_tokens,
                shuffle,
                self.loop_arguments.seed,
            )
        except ValueError as error:
            raise ValueError(f"{split} data: {error}") from error
        return TranslationBatches(
            rows.select_columns(["input_ids", "labels"]),
            sampler,
            TranslationCollator(int(self.config.pad_token_id or 0)),
            self.accelerator.process_index,
            self.accelerator.num_processes,
            self.loop_arguments.gradient_accumulation_steps,
            pin_memory=self.accelerator.device.type == "cuda",
        )

    def evaluation(self) -> TranslationEvaluation:
        """Greedy translation of validation pairs, spread over the whole split."""
        pairs = self.data["validation"]
        every = math.ceil(len(pairs) / self.arguments.evaluation_pairs)
        return TranslationEvaluation(
            pairs.select(range(0, len(pairs), every)),
            self.tokenizer,
            self.target_tokenizer,
            self.accelerator,
            batch_size=self.arguments.evaluation_batch_size,
            num_beams=1,
        )

    def identity(self) -> dict[str, Any]:
        """What decides the result beside the loop's options; a resumed run must have the same."""
        own = TriptychConfig.__dataclass_fields__.keys() & self.config.to_dict().keys()
        fields = {f"model.{name}": getattr(self.config, name) for name in own if not name.startswith("_")}
        fields.pop("model.transformers_version", None)
        names = () if self.arguments.tokenizer else ("tokenizer_model", "vocab_size", "separate_vocabularies")
        fields |= {f"tokenizer.{name}": getattr(self.arguments, name) for name in names}
        return fields | {
            "tokenizer": fingerprint([fingerprint_of(self.tokenizer)]),
            "target_tokenizer": self.target_tokenizer and fingerprint([fingerprint_of(self.target_tokenizer)]),
            "languages": self.languages(),
            "data.train": fingerprint(chain(self.data["train"]["source"], self.data["train"]["target"])),
            "data.max_tokens": self.arguments.max_tokens,
            "data.overlong": self.arguments.overlong,
            "data.max_sentence_length": self.arguments.max_sentence_length,
        }

    def summary(self) -> list[str]:
        """What is about to happen, in a few lines."""
        accelerator, loop, batches = self.accelerator, self.loop_arguments, self.train_batches
        devices = f"{accelerator.num_processes} × {accelerator.device.type}"
        sizes = ", ".join(f"{len(rows):,} {split}" for split, rows in self.data.items())
        vocabulary = f"{self.config.vocab_size:,}"
        if self.target_tokenizer is not None:
            vocabulary += f" + {self.config.decoder_vocab_size:,}"
        limits = [f"{n}={v:g}" for n in ("max_steps", "num_train_epochs", "max_minutes") if (v := getattr(loop, n))]
        return [
            f"device      {devices}, precision {accelerator.mixed_precision}",
            f"data        {sizes} pairs, vocabulary {vocabulary}",
            *(f"            {line}" for line in told(self.counts)),
            f"model       {self.arguments.preset}: {self.model.num_parameters():,} parameters, "
            f"{self.config.encoder_layers}+{self.config.decoder_layers} layers, d_model {self.config.hidden_size}",
            f"update      {self.arguments.max_tokens:,} tokens in {loop.gradient_accumulation_steps} piece(s) per "
            f"process; {len(batches):,} updates an epoch",
            f"training    until {' or '.join(limits)}; {loop.optimizer}, {loop.lr_scheduler}",
            *([f"languages   {languages}"] if (languages := self.languages()) else []),
            f"output_dir  {loop.output_dir}",
        ]

    def run(self) -> TrainingResult:
        return self.loop.run()

    def test(self) -> dict[str, Any] | None:
        """Scores the trained model on the test pairs, as it will translate; writes scores and translations."""
        if "test" not in self.data:
            return None
        pairs = self.data["test"]
        with self.accelerator.autocast():
            translations = translate(
                self.model,
                self.tokenizer,
                pairs["source"],
                self.target_tokenizer,
                batch_size=self.arguments.evaluation_batch_size,
                accelerator=self.accelerator,
            )
        scores = score_translations(translations, pairs["target"])
        if self.accelerator.is_main_process:
            output_dir = Path(self.loop_arguments.output_dir)
            claim(output_dir, TEST_METRICS, TEST_TRANSLATIONS)
            write_json(output_dir / TEST_METRICS, scores)
            write_text(output_dir / TEST_TRANSLATIONS, "".join(f"{one_line(text)}\n" for text in translations))
        self.accelerator.wait_for_everyone()
        return scores


def named_tokenizers(
    arguments: TranslationArguments,
) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase | None] | None:
    """The tokenizer(s) that `--tokenizer` names, with all that translation needs of them; None: one is to be trained.

    Raises:
        ValueError, FileNotFoundError: there is no such tokenizer, or it lacks something; the message gives the remedy.
    """
    if not arguments.tokenizer:
        return None
    tokenizer, target_tokenizer = load_tokenizers(arguments.tokenizer)
    for side in (tokenizer, target_tokenizer):
        if side is not None:
            complete_for_translation(side)
    set_languages(tokenizer, target_tokenizer, arguments.source_lang, arguments.target_lang)
    special_token_config(tokenizer, target_tokenizer)
    return tokenizer, target_tokenizer


def parse_translation_options(
    description: str | None = None, args: list[str] | None = None
) -> tuple[TranslationArguments, LoopArguments, dict[str, Any]]:
    """The options of scripts/train_translation.py, and the fields of the configuration that are among them.

    Args:
        args: the command line; None: that of the process.

    Raises:
        ValueError: a wrong value. (An unknown option ends the process, as with argparse.)
    """
    parser = OptionParser([TranslationArguments, LoopArguments], description=description)
    names = add_config_options(parser, TriptychConfig)
    add_recipe_option(parser, "translation", args)
    arguments, loop_arguments, *others = parser.parse_args_into_dataclasses(args)  # no others where no field is given
    config_fields = {name: value for options in others for name, value in vars(options).items() if name in names}
    return arguments, loop_arguments, config_fields


def on_main_process(accelerator: Accelerator, work: Callable[[], T]) -> T:
    """Lets the main process do `work`, and gives its result, or raises its error, on all."""
    outcome: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            outcome = [work()]
        except Exception as error:
            outcome = [error]
    if accelerator.num_processes > 1:
        broadcast_object_list(outcome)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    result: T = outcome[0]
    return result


def fingerprint(texts: Any) -> str:
    """The same texts in the same order have the same fingerprint."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]
