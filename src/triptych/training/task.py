"""`Task`, what is learnt from which data: the base class of all training tasks. docs/adding-a-task.md shows one."""

from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..data.arrow import Texts
from ..data.quantities import counted
from ..data.sieve import told
from ..data.splitting import split_off
from ..tokenization import load_tokenizers, save_tokenizers, special_token_config, train_tokenizer
from .model_source import choose_family, configuration_of, load_checkpoint
from .objective import Objective
from .task_arguments import TaskArguments
from .vocabulary import Tokenizers, fit_vocabulary

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

MOST_VALIDATION_ROWS = 1000  # that are held out: more would take long to evaluate, and tell little more


class Task(Objective):
    """
    A training task. `Training` calls the methods below in about the order in which they stand here; it calls
    `evaluation_rows` as soon as the data are loaded.

    A task must have the class attributes, `rows` and `collator`. Where the quality of predictions is measured, it also
    has `scores`, `predict` and `score`. What is counted and minimised are methods of `Objective`, whose defaults suit
    every model that returns its loss.

    Class attributes:
        arguments_class: the options of the task, a dataclass.
        model_classes: family → the class of the model that is trained. A family is a key of
            `triptych.tokenization.FAMILIES`: encoder-decoder, encoder or decoder. The first one is the usual one.
        default_preset: the preset that says, where neither `--preset` nor `--model` is given, what the plan does not.
        objective: the word by which a published recipe names the task.
        title: the task in words, for the model card ("translation"); without it, the card says `objective`.
        pipeline_tag: the task of a pipeline that the trained model does, as the Hub names it; None: it does none.
        use: the code of a model card (a key of `triptych.training.card.uses.USES`), where it is not that of the
            pipeline's task.
        unit: what a row of the data is called in the summary.
        text_columns: the columns of the data on which a tokenizer is trained.
        held_together: where rows are held out for validation, equal texts of this column stay together; None: of the
            first of `text_columns`.
        covered: the column of the labels, each of which then stays in the training data; None: there are none.
        sides: side of a row → the column of its tokens. The tokens of all sides count for `max_tokens`.
        scores: the names of the metrics that `score` gives, as numbers. Without any, the task is tested by its losses.
        predictions_file: where the predictions of the test data are written.

    Attributes, which `Training` sets before the methods that need them:
        arguments: an instance of `arguments_class`; a task does not change it.
        config_fields: fields of the configuration that differ from those of the preset or the checkpoint.
        checkpoint: the configuration of the checkpoint that is trained further, which nobody changes; None: the model
            is new.
        family, config_class, model_class: the family of the model, and its classes.
        new_tensors: the names of the weights that a checkpoint did not give, such as those of a new head.
        data: split → rows; `remarks`: what the user should know about them.
        tokenizer, target_tokenizer: the tokenizer of the source, and that of the target, where it has its own.
        model: the model that is trained.
    """

    arguments_class: ClassVar[type[TaskArguments]]
    model_classes: ClassVar[Mapping[str, type[PreTrainedModel]]]
    default_preset: ClassVar[str]
    objective: ClassVar[str]
    title: ClassVar[str] = ""
    pipeline_tag: ClassVar[str | None] = None
    use: str | None = None
    unit: str = "rows"
    text_columns: Sequence[str] = ("text",)
    held_together: ClassVar[str | None] = None
    covered: ClassVar[str | None] = None
    sides: Mapping[str, str] = {"text": "input_ids"}
    scores: Sequence[str] = ()
    predictions_file: ClassVar[str] = "test_predictions.txt"

    data: "DatasetDict"
    remarks: Sequence[str]
    tokenizer: PreTrainedTokenizerBase
    target_tokenizer: PreTrainedTokenizerBase | None
    model: PreTrainedModel
    new_tensors: Sequence[str] = ()

    def __init__(
        self,
        arguments: Any,
        config_fields: dict[str, Any] | None = None,
        checkpoint: PreTrainedConfig | None = None,
    ) -> None:
        """
        Args:
            checkpoint: the configuration of `arguments.model`, where it is read already.
        """
        self.arguments, self.config_fields = arguments, config_fields or {}
        self.checkpoint = checkpoint or configuration_of(arguments.model)
        self.family = choose_family(arguments.model, arguments.preset, self.model_classes, self.checkpoint)
        self.model_class = self.model_classes[self.family]
        self.config_class: Any = self.model_class.config_class

    # ---- before any long work ------------------------------------------------------------------------------------

    def check(self) -> None:
        """Finds mistakes in the options before any long work.

        Raises:
            ValueError: an option is wrong; the message names it with the remedy.
        """
        if self.arguments.preset:
            self.config_class.from_preset(self.arguments.preset, **self.config_fields)

    @property
    def preset(self) -> str:
        """The preset from which the model is made, where no checkpoint is given."""
        return str(self.arguments.preset or self.default_preset)

    def named_tokenizers(self) -> Tokenizers | None:
        """Loads the tokenizers that the options name, or those of the checkpoint; None: they are to be trained.

        Raises:
            ValueError, FileNotFoundError: there is no such tokenizer, or it lacks something that the task needs.
        """
        source = self.arguments.tokenizer or self.arguments.model
        if not source:
            return None
        named = load_tokenizers(source)
        self.complete(named)
        return named

    def complete(self, named: Tokenizers) -> None:
        """Gives named tokenizers what the task needs of them; here nothing. They are changed, and saved with this."""

    # ---- data, tokenizers, model ---------------------------------------------------------------------------------

    def load_data(self, seed: int) -> tuple["DatasetDict", Sequence[str]]:
        """Reads the data; their texts are not yet tokenized.

        Args:
            seed: decides what is drawn, where something is.

        Returns:
            Split → rows; a `Dataset`, or an `IterableDataset`, which is not read before it is needed. And lines that
            tell the user about rows that were left out, for example.

        Raises:
            FileNotFoundError, ValueError: a file is missing, or is not what its format says.
        """
        data, counts = self.arguments.read_data()
        return data, [*told(counts), *self.hold_out(data, seed)]

    def hold_out(self, data: "DatasetDict", seed: int) -> list[str]:
        """Makes a validation split of training data where there is none, and returns lines that say so.

        Rows with the same text in `held_together` stay on one side.
        """
        part = self.arguments.validation_split
        if "validation" in data or "train" not in data or not part:
            return []
        if not isinstance(data["train"], Sized):
            return ["the training data are a stream, so none are held out for validation: give --validation_file"]
        column = self.held_together or self.text_columns[0]
        train, validation = split_off(data["train"], part, column, MOST_VALIDATION_ROWS, seed, self.covered)
        if not len(validation):
            why = "are too few" if part * len(train) < 1 else "have too many equal texts, which stay together,"
            return [f"no rows are held out for validation: {len(train):,} {why} for --validation_split {part:g}"]
        data["train"], data["validation"] = train, validation
        drawn, are = counted(len(validation), self.unit), "is" if len(validation) == 1 else "are"
        return [
            f"{drawn} of the training data {are} held out for validation (drawn with --seed {seed}; "
            "--validation_split 0 holds out none)"
        ]

    def train_tokenizers(self) -> Tokenizers:
        """Trains the tokenizers on the training data: here one on all `text_columns`. The main process calls it."""
        arguments, rows = self.arguments, self.data["train"]
        texts = Texts(rows, self.text_columns)
        return train_tokenizer(texts, arguments.tokenizer_model, arguments.vocab_size, self.family), None

    def task_fields(self) -> dict[str, Any]:
        """Returns the fields of the configuration that the task decides, such as the labels of its data."""
        return {}

    def create_config(self) -> PreTrainedConfig:
        """Makes the configuration of the preset, with the given fields and with what task and tokenizers decide.

        Raises:
            ValueError: a field is given that the tokenizers decide otherwise.
        """
        derived, given = special_token_config(self.tokenizer, self.target_tokenizer, self.family), self.config_fields
        for name in given.keys() & derived.keys():
            if given[name] != derived[name]:
                raise ValueError(f"{name}={given[name]}: the tokenizer gives {derived[name]}; leave {name} out")
        return self.config_class.from_preset(self.preset, **(given | derived | self.task_fields()))

    def create_model(self) -> PreTrainedModel:
        """Makes the model that is trained; the random numbers are seeded before.

        Raises:
            ValueError: the checkpoint does not suit the task; see `load_checkpoint` and `fit_vocabulary`.
        """
        source = self.arguments.model
        if not source:
            return self.model_class(self.create_config())
        fields = self.config_fields | self.task_fields()
        model, self.new_tensors = load_checkpoint(source, self.model_class, fields, self.checkpoint)
        former = load_tokenizers(source) if self.arguments.tokenizer else None
        return fit_vocabulary(model, self.family, (self.tokenizer, self.target_tokenizer), former)

    @property
    def config(self) -> PreTrainedConfig:
        """The configuration of the model."""
        return self.model.config

    # ---- batches -------------------------------------------------------------------------------------------------

    def rows(self, split: str) -> "Dataset":
        """Returns the tokenized rows of a split: the columns that `collator` takes, among them those of `sides`.

        Raises:
            ValueError: a row cannot be used; the message counts rows from 1.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `rows`")

    def collator(self) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
        """Returns what makes the arguments of the model's `forward` of a list of rows; see `PaddingCollator`.

        A process that has no rows left passes an empty list. The result must then contribute 0 to the loss.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `collator`")

    # ---- predictions ---------------------------------------------------------------------------------------------

    def evaluation_rows(self) -> "Dataset":
        """Returns the rows of the validation data (not tokenized) that are predicted at evaluations: here all."""
        return self.data["validation"]

    def predict(self, model: Any, rows: "Dataset", accelerator: Accelerator, final: bool) -> list[Any]:
        """Returns the model's answer to each row (not tokenized), on every process. The processes share the work.

        Args:
            model: without wrappers, in evaluation mode.
            final: True for the test of the finished model; False at evaluations, which should take little time.
        """
        raise NotImplementedError(f"{type(self).__name__} has scores, but no method `predict`")

    def score(self, predictions: list[Any], rows: "Dataset") -> dict[str, Any]:
        """Returns `scores`, and whatever else belongs into test_metrics.json, such as the signature of a metric."""
        raise NotImplementedError(f"{type(self).__name__} has scores, but no method `score`")

    def evaluate(self, model: Any, accelerator: Accelerator) -> dict[str, float]:
        """Extends `Objective.evaluate`: the scores of the predictions for `evaluation_rows`."""
        rows = self.evaluation_rows()
        scores = self.score(self.predict(model, rows, accelerator, final=False), rows)
        return {name: scores[name] for name in self.scores}

    def finish(self, accelerator: Accelerator) -> Sequence[str]:
        """Does what is left to do with the trained model, before it is tested; every process calls it.

        It may change the model's generation configuration, which is written again afterwards.

        Returns:
            Lines that tell the user about it.
        """
        return []

    # ---- what is written and told --------------------------------------------------------------------------------

    def save_extras(self, directory: Path) -> None:
        """Extends `Objective.save_extras`: the tokenizers."""
        save_tokenizers(directory, self.tokenizer, self.target_tokenizer)

    def identity(self) -> dict[str, Any]:
        """Returns what decides the result beside the model, the tokenizers, the training data and `max_tokens`.

        A run is resumed only with the same values. They must be what JSON can hold.
        """
        return {}

    def summary(self) -> dict[str, str]:
        """Returns lines that are added to the summary of the run: a word of up to ten letters → text."""
        return {}

    def language_codes(self) -> Sequence[str]:
        """Returns the codes (ISO 639) of the languages of the data, for the model card; empty: they are not known."""
        return ()

    def report(self, scores: dict[str, Any]) -> list[str]:
        """Returns the lines that tell the user the scores of the test data."""
        return [f"test {name} {value:.4g}" for name, value in scores.items() if type(value) in (int, float)]
