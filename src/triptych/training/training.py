"""`Training`, a run of a task: puts the task, its data, its model and the loop together."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence, Sized
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, set_seed

from ..conversion import to_hf
from ..conversion.convert import destination
from ..data import DatasetBatches, Division, StreamBatches, TokenBudgetBatchSampler
from ..data.batching import token_lengths
from ..data.cache import default_directory, fingerprint_of_rows, keeping
from ..data.corpus import SPLITS
from ..data.quantities import counted
from ..files import write_json, write_text
from ..tokenization import fingerprint_of, load_tokenizers
from .accelerator import create_accelerator
from .adapters import adapter_layers, add_adapters, check_peft, fingerprint_of_frozen, freeze
from .arguments import LoopArguments
from .card import Run, write_card
from .evaluation import check_best_metric, metric_names
from .loop import TrainingLoop, TrainingResult
from .model_sizes import layers, parameters, vocabulary
from .plan import Plan, check_fields, dry_run, forecast, given_options, measure, plan_of_run, warnings
from .predictions import prediction_line
from .run_directory import check_output_dir
from .run_directory.record import HF_DIRECTORY, TEST_METRICS_FILE, claim
from .run_directory.weights import save_model
from .strategies import check_strategy
from .task import Task
from .upload import create_repository, upload
from .vocabulary import Tokenizers

T = TypeVar("T")
GENERATION_FILE = "generation_config.json"


class Training:
    """
    A run of a task: what all tasks have in common.

    Args:
        task: what is learnt from which data.
        arguments: the options of the loop.
        given: the names of the options and fields that the user gave, which no plan changes; None: those that differ
            from their defaults.

    Attributes:
        task: with its data, tokenizers and model.
        plan: the options that were not given, where neither a preset nor a recipe decides them; else None.
        train_batches: the updates of an epoch.
        loop: the loop over them.
        finished: what the task did after the training, in lines for the user.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: see the parts; each message names the option and the remedy.
    """

    def __init__(self, task: Task, arguments: LoopArguments, given: Collection[str] | None = None) -> None:
        self.finished: Sequence[str] = ()
        # Options are checked before the data are read, and everything before anything is written.
        check_options(task, arguments)
        named = task.named_tokenizers()
        self.task, self.arguments = task, arguments
        given = given_options(task.arguments, arguments) if given is None else given
        self.accelerator = create_accelerator(**arguments.accelerator_options())
        check_strategy(self.accelerator, arguments)

        self.load_data()
        self.plan = None if task.arguments.preset else self.follow_plan({*given, *task.config_fields})
        arguments = self.arguments
        task.tokenizer, task.target_tokenizer = named or self.own_tokenizers()
        set_seed(arguments.seed)
        task.model = task.create_model()
        if task.arguments.to_hf:
            destination(task.model, None)  # refuses a model that no class of transformers can express
        self.choose_parameters()
        self.train_batches = self.batches("train", shuffle=True)
        self.loop = TrainingLoop(
            task.model,
            arguments,
            self.train_batches,
            validation_batches=self.batches("validation", shuffle=False) if "validation" in task.data else None,
            objective=task,
            identity=self.identity(),
            accelerator=self.accelerator,
        )
        # Refuses a stream without an end, before anything is written.
        self.loop.progress.start_epoch(self.train_batches)
        self.repository = self.create_repository()

    def load_data(self) -> None:
        """Lets the task load its data, and checks what they allow.

        Raises:
            ValueError: there is nothing to train on; or the evaluations will not give what the options ask for.
        """
        task, arguments = self.task, self.arguments
        data, task.remarks = task.load_data(arguments.seed)
        task.data = type(data)({split: data[split] for split in SPLITS if split in data})  # always in this order
        if "train" not in task.data:
            raise ValueError(f"the data have no split to train on; they have {', '.join(task.data)}")
        has_validation = "validation" in task.data
        task.metrics = task.scores if has_validation and len(task.evaluation_rows()) else ()
        check_best_metric(arguments, metric_names(task, has_validation))

    def create_repository(self) -> str | None:
        """Returns the repository of the Hub that `push_to_hub` names, which is created where it is not there yet."""
        name, is_private = self.arguments.push_to_hub, self.arguments.hub_private
        if not name or self.task.arguments.dry_run:
            return None
        return on_main_process(self.accelerator, lambda: create_repository(name, is_private))

    def follow_plan(self, given: Collection[str]) -> Plan:
        """Completes the options of the task and the loop by the plan for them, and returns it.

        Args:
            given: the names of the options and fields that stay as they are.
        """
        task, arguments = self.task, self.arguments
        plan = on_main_process(self.accelerator, lambda: plan_of_run(task, arguments, self.accelerator, given))
        task.config_fields = plan.fields(task.arguments, arguments) | task.config_fields
        task.arguments = plan.completed(task.arguments)
        self.arguments = plan.completed(arguments)
        return plan

    def choose_parameters(self) -> None:
        """Freezes parameters and adds adapters, as the options say."""
        arguments, model = self.task.arguments, self.task.model
        if arguments.lora_rank:
            add_adapters(
                model, arguments.lora_rank, arguments.lora_alpha, arguments.lora_dropout, self.task.new_tensors
            )
        freeze(model, arguments.freeze or [])

    def own_tokenizers(self) -> Tokenizers:
        """Returns the tokenizers of the run that is resumed, or trains them on the data."""
        output_dir = Path(self.arguments.output_dir)
        if self.arguments.resume and (output_dir / "tokenizer_config.json").is_file():
            return load_tokenizers(output_dir)
        return on_main_process(self.accelerator, self.task.train_tokenizers)

    def batches(self, split: str, shuffle: bool) -> DatasetBatches | StreamBatches:
        """Returns the updates of a split, by the budget of tokens, as this process sees them.

        Raises:
            ValueError: a row cannot be used, or is larger than an update.
        """
        task, arguments, max_tokens = self.task, self.arguments, self.task.arguments.max_tokens
        is_planned = self.plan is not None and "max_tokens" in self.plan.options
        accelerator = self.accelerator
        is_pinned = accelerator.device.type == "cuda"
        loading: dict[str, Any] = {"num_workers": arguments.dataloader_workers, "pin_memory": is_pinned}
        division = Division(
            accelerator.process_index, accelerator.num_processes, arguments.gradient_accumulation_steps
        )
        try:
            rows = self.rows(split)
            if not isinstance(rows, Sized):
                order: dict[str, Any] = {"shuffle": shuffle, "seed": arguments.seed}
                return StreamBatches(rows, task.sides, max_tokens, task.collator(), division, **order, **loading)
            lengths = {side: token_lengths(rows, column) for side, column in task.sides.items()}
            if is_planned:  # an update holds at least the longest row
                max_tokens = max(max_tokens, int(reduce(np.add, lengths.values()).max()))
            sampler = TokenBudgetBatchSampler(lengths, max_tokens, shuffle, arguments.seed)
        except ValueError as error:
            raise ValueError(f"{split} data: {error}") from error
        return DatasetBatches(rows, sampler, task.collator(), division, **loading)

    def rows(self, split: str) -> Any:
        """Returns the tokenized rows of a split, from the disk where an earlier run has kept them (`cache_dir`).

        Of several processes one makes them, and the others wait for its file.
        """
        named = self.arguments.cache_dir
        with keeping(None if named == "none" else named or default_directory()):
            return self.task.rows(split)

    def identity(self) -> dict[str, Any]:
        """Returns what decides the result beside the options of the loop; a resumed run must have the same."""
        task, config, train = self.task, self.task.config, self.task.data["train"]
        values = config.to_dict()
        documented = type(config).__dataclass_fields__.keys() & values.keys() - {"transformers_version"}
        fields = {f"model.{name}": values[name] for name in documented if not name.startswith("_")}
        given = task.arguments.tokenizer or task.arguments.model
        names = () if given else ("tokenizer_model", "vocab_size")
        fields |= {f"tokenizer.{name}": getattr(task.arguments, name) for name in names}
        target = task.target_tokenizer
        trained = ("freeze", "lora_rank", "lora_alpha", "lora_dropout")
        fields |= {f"model.{name}": getattr(task.arguments, name) for name in trained}
        fields["model.frozen"] = fingerprint_of_frozen(task.model) if adapter_layers(task.model) else None
        return fields | {
            "tokenizer": fingerprint([fingerprint_of(task.tokenizer)]),
            "target_tokenizer": None if target is None else fingerprint([fingerprint_of(target)]),
            "data.train": fingerprint_of_rows(train) if isinstance(train, Sized) else None,  # a stream is read once
            "data.max_tokens": task.arguments.max_tokens,
            "data.validation_split": task.arguments.validation_split,
            "plan": None if self.plan is None else self.plan.record,
            **task.identity(),
        }

    def summary(self) -> list[str]:
        """Returns what is about to happen, in a few lines."""
        loop, task, model = self.arguments, self.task, self.task.model
        sizes = ", ".join(
            f"{len(rows):,} {split}" if isinstance(rows, Sized) else f"a stream to {split}"
            for split, rows in task.data.items()
        )
        limits = [f"{n}={v:g}" for n in ("max_steps", "num_train_epochs", "max_minutes") if (v := getattr(loop, n))]
        batches = self.train_batches
        epoch = f"{counted(len(batches), 'updates')} an epoch" if isinstance(batches, Sized) else "streamed"
        of_layers = f"{counted(layers(model.config), 'layers')}, d_model {model.config.hidden_size}"
        lines = {
            "device": self.device,
            "data": "\n".join([f"{sizes} {task.unit}, vocabulary {vocabulary(model.config)}", *task.remarks]),
            **({} if self.plan is None else {"plan": str(self.plan)}),
            "model": f"{task.arguments.model or task.arguments.preset or 'planned'}: {parameters(model)}, "
            f"{of_layers}{new_weights(task.new_tensors)}",
            "update": f"{counted(batches.max_tokens, 'tokens')} in "
            f"{counted(loop.gradient_accumulation_steps, 'pieces')} per process; {epoch}",
            "training": f"until {' or '.join(limits)}; {loop.optimizer}, {loop.lr_scheduler}",
            **task.summary(),
            "output_dir": loop.output_dir,
        }
        indented = {name: text.replace("\n", "\n" + " " * 12) for name, text in lines.items()}
        return [f"{name:<11} {text}" for name, text in indented.items()]

    @property
    def device(self) -> str:
        """The processes, devices and precision in words."""
        accelerator = self.accelerator
        shared = f", {words}" if (words := self.loop.weights.words) else ""
        devices = f"{accelerator.num_processes} × {accelerator.device.type}"
        precision = accelerator.mixed_precision
        return f"{devices}, {'float32' if precision == 'no' else precision}{shared}"

    def expectations(self) -> list[str]:
        """Returns lines about how far the run will get, and warnings: a few updates are measured, and undone.

        They are measured where a time is given, or for `--dry_run`, and not for a run that is resumed.
        """
        task, loop = self.task, self.loop
        if not task.arguments.dry_run and (self.arguments.max_minutes is None or self.arguments.resume):
            return []
        measured = measure(loop)
        expected = forecast(loop, measured.seconds)
        is_dry = task.arguments.dry_run
        told = warnings(
            loop, expected, is_new=task.arguments.model is None, is_planned=self.plan is not None, is_dry=is_dry
        )
        if not is_dry:
            return [f"{'forecast':<11} {expected} ({measured.seconds:.3g} seconds for an update)", *told]
        return dry_run(self.train_batches, task.sides, task.model, measured, expected, told)

    def run(self) -> TrainingResult:
        """Trains to the end, and lets the task finish its model; see `TrainingLoop.run` and `Task.finish`."""
        result, model = self.loop.run(), self.task.model
        with torch.no_grad(), self.accelerator.autocast():
            self.finished = self.task.finish(self.accelerator)
        if self.finished and model.can_generate() and self.accelerator.is_main_process:
            write_text(result.output_dir / GENERATION_FILE, model.generation_config.to_json_string())
        self.accelerator.wait_for_everyone()
        return result

    def write_hf(self) -> Path | None:
        """Writes the trained model as the native class of transformers, where `to_hf` wants it; returns the place."""
        task, output_dir = self.task, Path(self.arguments.output_dir)
        if not task.arguments.to_hf:
            return None
        directory = output_dir / HF_DIRECTORY
        if self.accelerator.is_main_process:
            # The weights in the directory of the run have the adapters merged.
            plain = type(task.model).from_pretrained(output_dir)
            claim(output_dir, HF_DIRECTORY)
            save_model(to_hf(plain), directory, task.save_extras, self.loop.checkpoints.is_ours)
        self.accelerator.wait_for_everyone()
        return directory

    def test(self) -> dict[str, Any] | None:
        """Scores the trained model on the test data, and writes the scores and the predictions.

        A task that scores predictions is tested by these, and another one by the losses of `Objective`.

        Returns:
            The scores; None where there are no test data.
        """
        task = self.task
        if "test" not in task.data:
            return None
        predictions: list[Any] = []
        with torch.no_grad(), self.accelerator.autocast():
            if task.scores:
                predictions = task.predict(task.model, task.data["test"], self.accelerator, final=True)
                scores = task.score(predictions, task.data["test"])
            else:
                scores = self.loop.evaluation.losses(self.batches("test", shuffle=False))
        if self.accelerator.is_main_process:
            output_dir = Path(self.arguments.output_dir)
            claim(output_dir, TEST_METRICS_FILE, task.predictions_file)
            write_json(output_dir / TEST_METRICS_FILE, scores)
            if predictions:
                lines = "".join(f"{prediction_line(prediction)}\n" for prediction in predictions)
                write_text(output_dir / task.predictions_file, lines)
        self.accelerator.wait_for_everyone()
        return scores

    def write_card(self, result: TrainingResult, scores: dict[str, Any] | None, command: str) -> list[str]:
        """Writes the model card and its curve; see `write_card`.

        Args:
            result: what `run` returned.
            scores: what `test` returned.
            command: what one types to repeat the run.

        Returns:
            Remarks for the user, on the main process.
        """
        remarks: list[str] = []
        if self.accelerator.is_main_process:
            run = Run(self.task, self.arguments, result, scores, command, self.device)
            remarks = write_card(run)
        self.accelerator.wait_for_everyone()
        return remarks

    def push(self) -> str | None:
        """Uploads the model and its card, where `push_to_hub` names a repository; returns the address."""
        repository = self.repository
        if repository is None:
            return None
        directory, title = Path(self.arguments.output_dir), self.task.title or self.task.objective
        return on_main_process(self.accelerator, lambda: upload(directory, repository, title))


def on_main_process(accelerator: Accelerator, work: Callable[[], T]) -> T:
    """Lets the main process do `work`, and gives its result, or raises its error, on all processes."""
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


def fingerprint(values: Iterable[Any]) -> str:
    """Returns a word that is the same for the same values (texts, or what `repr` writes) in the same order."""
    digest = hashlib.sha256()
    for value in values:
        digest.update((value if isinstance(value, str) else repr(value)).encode() + b"\0")
    return digest.hexdigest()[:16]


def check_options(task: Task, arguments: LoopArguments) -> None:
    """Finds mistakes in the options that can be seen without the data.

    Raises:
        ValueError, FileExistsError, FileNotFoundError: an option is wrong; the message names it with the remedy.
    """
    check_output_dir(arguments.output_dir, arguments.resume, arguments.overwrite)
    check_apart(task.arguments.model, arguments)
    if task.arguments.lora_rank:
        check_peft()
    task.check()
    if not (task.arguments.preset or task.arguments.model):
        check_fields(task)


def check_apart(model: str | None, arguments: LoopArguments) -> None:
    """Raises ValueError if a run would write into the directory of the checkpoint from which it starts."""
    if model is not None and Path(model).resolve() == Path(arguments.output_dir).resolve():
        raise ValueError(
            f"--model {model} and --output_dir {arguments.output_dir} are one directory: give the new run another "
            "one, or leave out --model and give --resume"
        )


def new_weights(names: Sequence[str]) -> str:
    """Returns a line that names the weights that a checkpoint did not give; empty where it gave all."""
    return f"\nnew weights: {', '.join(names)}" if names else ""
