"""The options of the training loop: one flat dataclass, one sentence per field, readable by HfArgumentParser."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_type_hints

from ..configuration.fields import meant
from .optimizer import OPTIMIZERS
from .schedule import SCHEDULES, Schedule


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A field of a dataclass of options: its default, its help, and further arguments of argparse (`choices`)."""
    return field(default=default, metadata={"help": help, **metadata})


def check_words(options: Any) -> None:
    """Compares the options that are one of several words with these words: those of a `Literal`, or of `choices`.

    Raises:
        ValueError: an option is another word.
    """
    hints = get_type_hints(type(options))
    for option in fields(options):
        value = getattr(options, option.name)
        words = option.metadata.get("choices") or [word for word in _words(hints[option.name]) if word is not None]
        if words and value is not None and value not in words:
            near = meant(value, words)
            raise ValueError(f"{option.name}={value!r} is not known{near}; choose one of {', '.join(words)}")


POSITIVE = (
    "max_steps",
    "num_train_epochs",
    "max_minutes",
    "gradient_accumulation_steps",
    "cpu_threads",
    "logging_steps",
    "evaluation_steps",
    "evaluation_minutes",
    "save_steps",
    "save_minutes",
    "keep_checkpoints",
    "early_stopping_patience",
)

LARGEST_SEED = 2**32 - 1

NOT_NEGATIVE = (
    "max_grad_norm",
    "weight_decay",
    "learning_rate",
    "learning_rate_scale",
    "adam_epsilon",
    "seed",
    "dataloader_workers",
)

# A resumed run may change these fields; all others decide what is learnt.
FREE_ON_RESUME = frozenset(POSITIVE) | {
    "output_dir",
    "resume",
    "overwrite",
    "cpu",
    "best_metric",
    "greater_is_better",
    "final_weights",
    "report_to",
    "progress_bar",
    "find_batch_size",
    "gradient_checkpointing",
    "torch_compile",
    "dataloader_workers",
    "cache_dir",
    "push_to_hub",
    "hub_private",
}


@dataclass
class LoopArguments:
    """
    The options of the training loop; none of them is about a model or a task.

    Raises:
        ValueError: a value is out of range, or two options contradict each other.
    """

    output_dir: str = field(metadata={"help": "Directory of the run: checkpoints, metrics, and the final model."})
    resume: bool = option(False, "Continue the run that output_dir holds from its last checkpoint, bit for bit.")
    overwrite: bool = option(False, "Delete what the run in output_dir wrote, and nothing else, and start over.")

    max_steps: int | None = option(None, "Stop after this many updates.")
    num_train_epochs: float | None = option(None, "Stop after this many epochs (10 when no limit is given).")
    max_minutes: float | None = option(
        None, "Stop training after this many minutes; a last evaluation and a checkpoint follow."
    )
    gradient_accumulation_steps: int = option(
        1, "Pieces into which a process cuts its share of an update, to save memory; the result stays the same."
    )
    find_batch_size: bool = option(
        False, "Where the memory is too small for an update, cut it into twice as many pieces and make it again."
    )
    gradient_checkpointing: bool = option(
        False, "Compute each layer twice instead of keeping what is inside it: less memory, the same result."
    )
    torch_compile: bool = option(False, "Compile the model with torch.compile; the first updates then take long.")

    optimizer: str = option(
        "adamw",
        "Optimizer. Without weight decay, adamw is the same as adam. Muon learns more from each update, and needs "
        "more time for it.",
        choices=OPTIMIZERS,
    )
    adam_beta1: float = option(0.9, "Adam: how much of the former mean of the gradients stays at each update.")
    adam_beta2: float = option(
        0.98, "Adam: how much of the former mean of the squared gradients stays at each update."
    )
    adam_epsilon: float = option(1e-9, "Adam: small number that keeps it from dividing by zero (epsilon).")
    weight_decay: float = option(0.0, "Weight decay of matrices (never of biases and norms).")
    max_grad_norm: float = option(
        0.0, "Greatest norm of the gradient: a greater one is scaled down to it (clipping); 0: never."
    )

    lr_scheduler: str = option(
        "noam",
        'How the learning rate changes; noam is equation (3) of "Attention Is All You Need".',
        choices=SCHEDULES,
    )
    learning_rate: float = option(5e-4, "Peak learning rate of every schedule but noam.")
    learning_rate_scale: float = option(1.0, "Factor by which every learning rate is multiplied.")
    warmup_steps: int = option(4000, "Updates over which the learning rate rises linearly.")
    warmup_ratio: float | None = option(None, "Warmup as a fraction of the training, instead of warmup_steps.")

    mixed_precision: Literal["no", "bf16", "fp16"] | None = option(
        None, "Precision of the matrix products; by default what `accelerate launch` says, else float32."
    )
    cpu: bool = option(False, "Train on the CPU even where there is a GPU.")
    cpu_threads: int | None = option(None, "Threads of each process on a CPU; by default its share of the cores.")
    seed: int = option(0, "Seed of initialisation, order of the data and dropout.")
    dataloader_workers: int = option(
        0, "Processes beside each training process that make its batches; the result stays the same."
    )
    cache_dir: str | None = option(
        None,
        "Directory where tokenised data are kept for later runs (default: that of `datasets`); none: they are not "
        "kept.",
    )

    logging_steps: int | None = option(
        None, "Updates between two lines of the log (default: about 40 lines for a run, at most 100 updates apart)."
    )
    evaluation_steps: int | None = option(None, "Updates between two evaluations (default: once per epoch).")
    evaluation_minutes: float | None = option(None, "Minutes between two evaluations, instead of evaluation_steps.")
    save_steps: int | None = option(None, "Updates between two checkpoints (default: once per epoch).")
    save_minutes: float | None = option(None, "Minutes between two checkpoints, instead of save_steps.")
    keep_checkpoints: int = option(
        5, "How many of the last checkpoints are kept; --final_weights average is their mean."
    )
    best_metric: str | None = option(
        "validation_loss", "Metric of the evaluations by which the best weights are kept; none: they are not kept."
    )
    greater_is_better: bool | None = option(
        None, "Whether a greater best_metric is better (default: yes, unless its name says loss or perplexity)."
    )
    early_stopping_patience: int | None = option(
        None, "Stop after this many evaluations in a row in which best_metric has not become better."
    )
    final_weights: Literal["last", "best", "average"] = option(
        "last", "Weights that output_dir holds at the end: the last, the best, or the mean of the kept checkpoints."
    )
    report_to: str = option(
        "tensorboard",
        "Trackers of accelerate that also get the metrics, with commas between them; or all that are installed; or "
        "none.",
    )
    progress_bar: bool = option(True, "Show a progress bar where stderr is a terminal.")
    push_to_hub: str | None = option(
        None, "Repository of the Hub, such as me/my-model, to which the model and its card are uploaded at the end."
    )
    hub_private: bool = option(False, "Make this repository private, if there is none of this name yet.")

    def __post_init__(self) -> None:
        check_words(self)
        if self.resume and self.overwrite:
            raise ValueError("resume and overwrite contradict each other: give one of them")
        for name in POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}={value} must be greater than 0, and finite")
        for name in NOT_NEGATIVE:
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}={value} must be at least 0, and finite")
        if self.seed > LARGEST_SEED:
            raise ValueError(f"seed={self.seed} must be at most {LARGEST_SEED}, the greatest seed of numpy")
        for name in ("adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in [0, 1)")
        # Refuses a wrong schedule now; the loop makes its own.
        Schedule(self.lr_scheduler, self.learning_rate, self.warmup_steps, self.warmup_ratio, hidden_size=1)
        for first, second in (("evaluation_steps", "evaluation_minutes"), ("save_steps", "save_minutes")):
            if getattr(self, first) is not None and getattr(self, second) is not None:
                raise ValueError(f"give {first} or {second}, not both")
        if self.best_metric in ("none", ""):
            self.best_metric = None
        if self.greater_is_better is None:
            self.greater_is_better = not any(word in (self.best_metric or "") for word in ("loss", "perplexity"))
        if self.best_metric is None:
            for name, is_given in (
                ("final_weights=best", self.final_weights == "best"),
                ("early_stopping_patience", self.early_stopping_patience is not None),
            ):
                if is_given:
                    raise ValueError(f"{name} needs best_metric, which is none")
        if self.max_steps is None and self.num_train_epochs is None and self.max_minutes is None:
            self.num_train_epochs = 10.0

    def accelerator_options(self) -> dict[str, Any]:
        """Returns the arguments of `create_accelerator`."""
        return {
            "mixed_precision": self.mixed_precision,
            "cpu": self.cpu,
            "cpu_threads": self.cpu_threads,
            "tracker": self.report_to,
            "tracker_directory": self.output_dir,
        }

    @property
    def needs_clock(self) -> bool:
        """Says whether a decision depends on the time; then the processes have to agree on it."""
        return any(m is not None for m in (self.max_minutes, self.evaluation_minutes, self.save_minutes))


def _words(hint: Any) -> list[Any]:
    """The words of a `Literal`, also within `Literal[...] | None`; empty for every other type."""
    arguments = get_args(hint)
    if all(isinstance(a, str) for a in arguments):
        return list(arguments)
    return [word for a in arguments for word in _words(a)]
