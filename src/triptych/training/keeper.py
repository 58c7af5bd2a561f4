"""Which weights of a run are kept on disk: the last checkpoints, the best, and those that it ends with."""

import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import save_file
from torch import nn

from ..files import (
    INDEX,
    MODEL_FILE,
    TEMPORARY,
    WEIGHTS,
    files_in,
    publish,
    remove,
    weight_files,
    without_temporary,
    write_json,
)
from .averaging import average_checkpoints
from .checkpoints import (
    fresh_directory,
    load_weights,
    random_state,
    read_best,
    read_state,
    remedy_for,
    save_model,
    step_directories,
    write_state,
)
from .record import BEST_FILE, STATE, claim, is_run_entry, release


class Keeper:
    """
    Writes on the main process; all processes call `save`, `load` and `finish`.

    Args:
        output_dir: the run's directory; it always holds a model that loads.
        model: the bare model, equal on all processes.
        keep: number of last checkpoints that are kept.
        extras: writes into a directory what belongs beside the weights (tokenizer, ...).
    """

    def __init__(
        self,
        output_dir: Path,
        model: nn.Module,
        optimizer: Any,
        accelerator: Accelerator,
        keep: int,
        extras: Callable[[Path], None],
    ) -> None:
        self.output_dir, self.model, self.optimizer, self.accelerator = output_dir, model, optimizer, accelerator
        self.keep, self.extras = keep, extras
        self.extra_files: set[str] = set()  # what `extras` writes, as far as it has been called

    def is_ours(self, path: str) -> bool:
        """Whether the run writes `path`, relative to `output_dir`; a directory's path ends in a slash."""
        inside = re.sub(r"^(checkpoint|best)-[0-9]+/", "", without_temporary(path))
        is_extra = any(
            name.startswith(inside) if inside.endswith("/") else name == inside for name in self.extra_files
        )
        return is_run_entry(path) or is_extra

    @contextmanager
    def staged_extras(self) -> Iterator[Path]:
        """A directory with what belongs beside the weights; from then on it is known which files these are."""
        with tempfile.TemporaryDirectory() as directory:
            self.extras(Path(directory))
            self.extra_files |= set(files_in(Path(directory)))
            yield Path(directory)

    def publish(self, source: Path, names: list[str]) -> None:
        """Brings files of `source` into `output_dir`, each in one step.

        Raises:
            FileExistsError: the run has not written what stands there.
        """
        claim(self.output_dir, *(name.partition("/")[0] for name in names))
        publish(source, self.output_dir, names)

    def publish_extras(self, staged: Path) -> None:
        """Brings what `staged_extras` gave into `output_dir`."""
        self.publish(staged, files_in(staged))

    def publish_model_of(self, source: Path) -> None:
        """Brings the model's files of a directory into `output_dir`."""
        self.publish(source, [name for name in files_in(source) if MODEL_FILE.fullmatch(name)])

    def remove(self, directory: Path) -> None:
        """Removes a directory of the run. What others put into it stays, and is the run's no more.

        It goes under a temporary name, so that a kill leaves no half of it under its own.
        """
        going = directory.with_name(directory.name + TEMPORARY)
        if not remove(going, self.is_ours):
            os.rename(directory, going)
        release(self.output_dir, directory.name)
        if remove(going, self.is_ours) and not os.path.lexists(directory):
            os.rename(going, directory)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """
        Writes a checkpoint, brings its weights into `output_dir`, and drops what is not needed any more.

        Raises:
            FloatingPointError: there are weights that are not finite; nothing is written.
        """
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise FloatingPointError(f"the weights are not finite after update {step}: the training has diverged")
        random_states = gather_object([random_state(self.accelerator.device)])
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            everything = state | {"scaler": None if scaler is None else scaler.state_dict()}
            checkpoint = self.output_dir / f"checkpoint-{step}"
            claim(self.output_dir, checkpoint.name)
            save_model(
                self.model,
                checkpoint,
                self.extras,
                lambda d: write_state(d / STATE, everything, self.model, self.optimizer, random_states),
                self.is_ours,
            )
            self.publish_model_of(checkpoint)
            self.prune()
        self.accelerator.wait_for_everyone()

    def prune(self) -> None:
        """Drops what is not needed any more of the checkpoints before the last."""
        older = step_directories(self.output_dir, "checkpoint")[:-1]
        for directory in older[: max(len(older) + 1 - self.keep, 0)]:
            self.remove(directory)
        for directory in older:  # for averaging, weights are enough
            remove(directory / STATE, self.is_ours, f"{directory.name}/{STATE}")

    def load(self, checkpoint: Path) -> tuple[dict[str, Any], int]:
        """Restores weights, optimizer and random numbers; returns the other state, and the number of processes.

        Raises:
            ValueError: a file is damaged; it is named with the remedy.
        """
        load_weights(self.model, checkpoint, remedy_for(checkpoint))
        process, device = self.accelerator.process_index, self.accelerator.device
        state = read_state(checkpoint, self.model, self.optimizer, process, device)
        scaler, processes = state.pop("scaler"), state.pop("processes")
        if scaler is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(scaler)
        return state, processes

    def best(self) -> dict[str, Any] | None:
        """`step`, `metric`, `value` and all `metrics` of the best evaluation so far."""
        return read_best(self.output_dir)

    def keep_if_best(self, step: int, metrics: dict[str, float], metric: str, greater_is_better: bool) -> None:
        """Keeps the present weights instead of the best so far, if they are better."""
        value, best, sign = metrics[metric], self.best(), 1 if greater_is_better else -1
        kept = step_directories(self.output_dir, "best")[-1:]
        former = best["value"] if best is not None and best["metric"] == metric else math.nan
        if math.isnan(former) or sign * value > sign * former:  # anything is better than NaN
            record = {"step": step, "metric": metric, "value": value, "metrics": metrics}
            directory = self.output_dir / f"best-{step}"
            claim(self.output_dir, directory.name)
            save_model(self.model, directory, self.extras, lambda d: write_json(d / BEST_FILE, record), self.is_ours)
            kept = [directory]
        for other in step_directories(self.output_dir, "best"):  # a killed run may have left two
            if other not in kept:
                self.remove(other)

    def publish_model(self) -> None:
        """Brings the present weights into `output_dir`."""
        directory = fresh_directory(self.output_dir / f"model{TEMPORARY}", self.is_ours)
        self.model.save_pretrained(directory)  # type: ignore[operator]
        self.publish_model_of(directory)
        remove(directory, self.is_ours)

    def finish(self, choice: str) -> None:
        """Leaves the weights that `choice`, a key of `FINAL_WEIGHTS`, names in `output_dir` and in the model."""
        if self.accelerator.is_main_process:
            self.prune()  # a killed run may have come no further than to its last checkpoint
            FINAL_WEIGHTS[choice](self)
        self.accelerator.wait_for_everyone()
        load_weights(self.model, self.output_dir)


def finish_last(keeper: Keeper) -> None:
    keeper.publish_model_of(step_directories(keeper.output_dir, "checkpoint")[-1])


def finish_best(keeper: Keeper) -> None:
    keeper.publish_model_of(step_directories(keeper.output_dir, "best")[-1])


def finish_average(keeper: Keeper) -> None:
    checkpoints = step_directories(keeper.output_dir, "checkpoint")[-keeper.keep :]
    directory = fresh_directory(keeper.output_dir / f"average{TEMPORARY}", keeper.is_ours)
    keeper.model.save_pretrained(directory)  # type: ignore[operator]
    for file in [*weight_files(directory), directory / INDEX]:
        file.unlink(missing_ok=True)
    save_file(average_checkpoints(checkpoints), directory / WEIGHTS, metadata={"format": "pt"})
    load_weights(keeper.model, directory)
    keeper.publish_model()
    remove(directory, keeper.is_ours)


FINAL_WEIGHTS: dict[str, Callable[[Keeper], None]] = {
    "last": finish_last,
    "best": finish_best,
    "average": finish_average,
}
