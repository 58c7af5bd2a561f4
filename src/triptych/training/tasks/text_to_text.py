"""What the tasks from text to text have in common: learning a target from a source, and generating it with beams."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from accelerate import Accelerator
from torch import Tensor

from ...data import TranslationCollator, tokenize_pairs
from ...data.targets import around_targets
from ...data.tokenize import SAMPLE
from ...modeling import TriptychForConditionalGeneration
from ...modeling.generation import LENGTH_OPTIONS
from ...modeling.losses import token_cross_entropy
from ...tokenization import complete_for_translation, special_token_config
from ..arguments import option
from ..length_penalty import USUAL, choose_length_penalty
from ..task import Task
from ..task_arguments import TaskArguments
from ..translate import behind_prefix, source_prefix, translate
from ..vocabulary import Tokenizers

if TYPE_CHECKING:
    from datasets import Dataset

PENALTIES = ("gnmt_length_penalty", "length_penalty")  # of this package, and of transformers
# Different names for one decision: who states one of them has decided.
DECISIONS = {name: names for names in (PENALTIES, LENGTH_OPTIONS) for name in names}
# What a public checkpoint may say of a task in `task_specific_params`, where transformers had the options of
# generation before it had a generation configuration.
FORMER_OPTIONS = ("num_beams", "length_penalty", "no_repeat_ngram_size", "max_length", "min_length", "early_stopping")
# Architectures of which transformers' own classes leave two things as they are in training; see `keep_what_stays`.
FAIRSEQ = {"bart", "marian", "mbart", "pegasus"}


@dataclass(kw_only=True)
class TextToTextArguments(TaskArguments):
    """
    Options of a task that learns to generate a text from a text. A task extends this class and one that says what the
    columns are.

    Raises:
        ValueError: there are no data, or several sources of data; or an option is out of range.
    """

    tokenizer: str | None = option(
        None,
        "Directory or name of a tokenizer, or a SentencePiece model; without it, that of the checkpoint is used, or "
        "one is trained. One without padding token gets <pad>; one that does not end its targets has its end token "
        "appended to them.",
    )
    source_prefix: str | None = option(
        None, "Text before each source, as T5 needs it, such as 'summarize: ' (default: that of the checkpoint)."
    )
    overlong: Literal["error", "truncate", "drop"] = option(
        "error", "What to do with rows whose source or target is longer than what is allowed."
    )

    max_tokens: int = option(
        8192, "Source and target tokens of one update, padding included, over all processes and pieces."
    )
    evaluation_pairs: int = option(
        500, "Validation rows for which texts are generated at evaluations, by greedy search; 0 for none."
    )
    evaluation_batch_size: int = option(64, "Texts that are generated at a time.")

    num_beams: int | None = option(
        None, "Beams with which the finished model searches for a text (default: those of the checkpoint, else 4)."
    )
    gnmt_length_penalty: float | None = option(
        None,
        "Length penalty of the beam search, the alpha of section 6.1 of the paper: a greater one gives longer texts "
        "(default: that of the checkpoint; else the one that scores best on evaluation_pairs validation rows at the "
        "end; without validation data 0.6).",
    )
    no_repeat_ngram_size: int | None = option(
        None,
        "No sequence of so many tokens stands twice in a text that the finished model writes (default: that of the "
        "checkpoint, else any may).",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "num_beams", "no_repeat_ngram_size")
        self.check_at_least(0, "evaluation_pairs")
        if self.gnmt_length_penalty is not None and not math.isfinite(self.gnmt_length_penalty):
            raise ValueError(f"gnmt_length_penalty={self.gnmt_length_penalty} must be finite")


class TextToTextTask(Task):
    """
    Learns to generate a target from a source; see `Task`. With label smoothing, the smoothed loss is a metric, too.

    Class attributes:
        text_columns: the column of the sources, and that of the targets.
        decisive: which of `scores` chooses the length penalty.
    """

    model_classes: ClassVar = {"encoder-decoder": TriptychForConditionalGeneration}
    default_preset = "transformer-base"
    sides = {"source": "input_ids", "target": "labels"}
    losses = ("loss", "smoothed_loss")
    text_columns: tuple[str, str]
    decisive: ClassVar[str]
    pipeline_tag: ClassVar[str]

    arguments: TextToTextArguments
    chooses_penalty = False  # whether the length penalty is chosen at the end

    def named_tokenizers(self) -> Tokenizers | None:
        """Extends `Task.named_tokenizers`: refuses a tokenizer that lacks a token."""
        named = super().named_tokenizers()
        if named is not None:
            special_token_config(*named)
        return named

    def complete(self, named: Tokenizers) -> None:
        """Extends `Task.complete`: adds what a generated text needs, an end and padding."""
        for side in named:
            if side is not None:
                complete_for_translation(side)

    # ---- the model, and how it generates -------------------------------------------------------------------------

    def create_model(self) -> TriptychForConditionalGeneration:
        """Extends `Task.create_model`: the model knows how the finished model generates."""
        model = super().create_model()
        keep_what_is_said(self.checkpoint, model.config, str(self.pipeline_tag))
        if (model.config.origin or {}).get("model_type") in FAIRSEQ:
            keep_what_stays(model)
        self.set_generation(model)
        before, _ = around_targets(self.target_tokenizer or self.tokenizer, self.data["train"][:SAMPLE][self.target])
        # Every target begins with this token (the code of a language, or BART's <s>), so every output does.
        model.generation_config.forced_bos_token_id = before[0] if before else None
        return model

    def usual_generation(self, config: Any) -> dict[str, Any]:
        """The options of generation that the command line can give → the value where nothing else gives one.

        Raises:
            ValueError: the model cannot do what an option says.
        """
        return {"num_beams": 4, "no_repeat_ngram_size": None, "gnmt_length_penalty": USUAL}

    def set_generation(self, model: Any) -> None:
        """Sets the options of generation: the given ones, those of the checkpoint, or the usual ones."""
        options, of_task = model.generation_config, self.of_task(model.config)
        for name in FORMER_OPTIONS:
            if of_task.get(name) is not None and not is_stated(options, name):
                setattr(options, name, of_task[name])
        self.chooses_penalty = self.arguments.gnmt_length_penalty is None and not is_stated(options, PENALTIES[0])
        for name, usual in self.usual_generation(model.config).items():
            given = getattr(self.arguments, name)
            if given is not None or not is_stated(options, name):
                for other in DECISIONS.get(name, ()):
                    setattr(options, other, None)
                setattr(options, name, usual if given is None else given)
        prefix = self.arguments.source_prefix
        self.set_of_task(model.config, of_task.get("prefix") if prefix is None else prefix)

    def of_task(self, config: Any) -> dict[str, Any]:
        """What a configuration says of this task alone: a prefix, and options of generation."""
        return dict((getattr(config, "task_specific_params", None) or {}).get(self.pipeline_tag) or {})

    def set_of_task(self, config: Any, prefix: str | None) -> None:
        """Lets a configuration say only the prefix of this task; the generation configuration says the rest."""
        others = {
            k: v for k, v in (getattr(config, "task_specific_params", None) or {}).items() if k != self.pipeline_tag
        }
        said = others if prefix is None else others | {self.pipeline_tag: {"prefix": prefix}}
        if said or getattr(config, "task_specific_params", None):
            config.task_specific_params = said

    @property
    def prefix(self) -> str:
        """The text before each source; see `source_prefix`."""
        return source_prefix(self.config, str(self.pipeline_tag))

    # ---- batches -------------------------------------------------------------------------------------------------

    @property
    def source(self) -> str:
        """The column of the sources."""
        return self.text_columns[0]

    @property
    def target(self) -> str:
        """The column of the targets."""
        return self.text_columns[1]

    def wanted_limits(self) -> tuple[int | None, int | None]:
        """The most tokens of a source and of a target that the options allow; None: any number."""
        return None, None

    def limits(self) -> tuple[int | None, int | None]:
        """The most tokens of a source and of a target, by the model and the options; None: any number."""
        of_model = (self.config.stack_config(stack).position_limit for stack in ("encoder.", "decoder."))
        both = zip(of_model, self.wanted_limits(), strict=True)
        source, target = (min((limit for limit in of_side if limit is not None), default=None) for of_side in both)
        return source, target

    @property
    def longest_input(self) -> int | None:
        """The number of tokens to which a source is cut before the model reads it; None: the model's positions."""
        return None

    def sources(self, rows: "Dataset") -> list[str]:
        """The sources of rows, each behind the prefix."""
        return behind_prefix(self.prefix, rows[self.source])

    def rows(self, split: str) -> "Dataset":
        """Extends `Task.rows`: tokenizes both sides; what is too long is refused, cut or left out."""
        rows, prefix = self.data[split], self.prefix
        names = {self.source: "source", self.target: "target"}
        rows = rows.rename_columns({column: name for column, name in names.items() if column != name})
        if prefix:
            rows = rows.map(lambda pairs: {"source": behind_prefix(prefix, pairs["source"])}, batched=True)
        sides = self.tokenizer, self.target_tokenizer
        rows = tokenize_pairs(rows, *sides, *self.limits(), self.arguments.overlong)
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

    # ---- predictions ---------------------------------------------------------------------------------------------

    def evaluation_rows(self) -> "Dataset":
        """Extends `Task.evaluation_rows`: about `evaluation_pairs` rows, spread over the whole split."""
        pairs, number = self.data["validation"], self.arguments.evaluation_pairs
        return pairs.select(range(0, len(pairs), math.ceil(len(pairs) / number)) if number else [])

    def predict(self, model: Any, rows: "Dataset", accelerator: Accelerator, final: bool) -> list[str]:
        """Extends `Task.predict`: generated texts, greedy ones at evaluations."""
        return self.generate(model, rows, accelerator, **({} if final else {"num_beams": 1}))

    def generate(self, model: Any, rows: "Dataset", accelerator: Accelerator, **options: Any) -> list[str]:
        """Returns the text that the model generates for each row; `options` are those of `model.generate`."""
        return translate(
            model,
            self.tokenizer,
            self.sources(rows),
            self.target_tokenizer,
            batch_size=self.arguments.evaluation_batch_size,
            accelerator=accelerator,
            max_source_length=self.longest_input,
            **options,
        )

    def finish(self, accelerator: Accelerator) -> Sequence[str]:
        """Extends `Task.finish`: chooses the length penalty."""
        options = self.model.generation_config
        if not self.chooses_penalty or options.num_beams == 1:
            return []
        rows = self.evaluation_rows() if "validation" in self.data else ()
        if not len(rows):
            return [f"length penalty {USUAL}: there are no validation rows to choose one by"]

        def score(penalty: float) -> float:
            texts = self.generate(self.model, rows, accelerator, gnmt_length_penalty=penalty)
            return float(self.score(texts, rows)[self.decisive])

        options.gnmt_length_penalty, told = choose_length_penalty(score, self.decisive, len(rows))
        return [told]

    def identity(self) -> dict[str, Any]:
        """Extends `Task.identity`."""
        return {"data.overlong": self.arguments.overlong, "data.source_prefix": self.prefix}


def is_stated(options: Any, name: str) -> bool:
    """Whether a generation configuration decides what an option decides, under any of its names."""
    return any(getattr(options, other, None) is not None for other in DECISIONS.get(name, (name,)))


def keep_what_is_said(published: Any, config: Any, task: str) -> None:
    """Copies what a public configuration says of a task, which a conversion leaves out: a prefix, options.

    Args:
        published: that of the checkpoint; None: there is none.
    """
    of_task = (getattr(published, "task_specific_params", None) or {}).get(task)
    if of_task and not getattr(config, "task_specific_params", None):
        config.task_specific_params = {task: dict(of_task)}
    if getattr(published, "prefix", None) and not getattr(config, "prefix", None):
        config.prefix = published.prefix


def keep_what_stays(model: Any) -> None:
    """Lets a model of `FAIRSEQ` learn what transformers' own class learns.

    There, the bias of the vocabulary is no parameter; and the embedding of padding, from which Marian's decoder
    starts, does not learn from being read.
    """
    if model.lm_head.bias is not None:
        model.lm_head.bias.requires_grad_(False)
    for name in model.config.embedding_names:
        getattr(model.model, name).padding_idx = model.config.pad_token_id
