"""`Run`, what a card tells of, and the names of its data without the folders of this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..arguments import LoopArguments
from ..loop import TrainingResult
from ..task import Task


@dataclass(frozen=True)
class Run:
    """
    A run that has ended.

    Attributes:
        task: with its options, data and model.
        arguments: the options of the loop.
        result: how the run ended.
        scores: what the test data gave; None where there are none.
        command: what one types to repeat the run.
        device: processes, devices and precision, in words.
    """

    task: Task
    arguments: LoopArguments
    result: TrainingResult
    scores: Mapping[str, Any] | None
    command: str
    device: str

    @property
    def name(self) -> str:
        """The name of the model: that of its directory."""
        return Path(self.arguments.output_dir).resolve().name

    def results(self) -> dict[str, dict[str, float]]:
        """Returns split → the numbers that were measured on it, for the final weights."""
        measured = {"validation": self.result.metrics, "test": self.scores or {}}
        numbers = {
            split: {
                name.removeprefix(f"{split}_"): float(value)
                for name, value in values.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
            for split, values in measured.items()
        }
        return {split: values for split, values in numbers.items() if values}

    def source(self, split: str) -> str:
        """Returns where the rows of a split come from: names of files, or the name of a data set."""
        options = self.task.arguments
        files = getattr(options, f"{split}_file", None)
        if files:
            return ", ".join(Path(name).name for name in files)
        named = next((getattr(options, name) for name in named_sources(options) if getattr(options, name)), None)
        return f"a part of {self.source('train')}" if named is None else without_folders(named)


def named_sources(options: Any) -> tuple[str, ...]:
    """The options that name data other than by their files."""
    return ("dataset_name", *options.other_sources)


def is_local(name: str) -> bool:
    """Says whether a name is a file or directory of this machine, and not one of the Hub."""
    return Path(name).exists() or Path(name).is_absolute()


def without_folders(name: str) -> str:
    """Returns a name of the Hub as it is, and of a path the last part only."""
    return Path(name).resolve().name if is_local(name) else name
