"""`CheckpointManager` keeps the weights of a run on disk: the last checkpoints, the best, and the final ones."""

import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import save_file

from ...files import (
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
from ..arguments import LoopArguments
from ..sharding import WholeModel
from .averaging import average_checkpoints
from .checkpoints import remedy_for, remove_unfinished, step_directories
from .checks import is_scheduled, read_best
from .directory import check_output_dir, start_run
from .loop_state import is_better
from .random_numbers import random_state
from .record import BEST_FILE, STATE, claim, is_run_entry, release
from .training_state import read_state, write_state
from .weights import fresh_directory, load_weights, restore_weights, save_adapters, save_model, save_weights


class CheckpointManager:
    """
    Writes and reads the checkpoints of a run.

    The main process calls `begin` and `keep_if_best`, and writes; all processes call `save`, `load` and `finish`.

    Args:
        output_dir: the directory of the run. From `begin` on it always holds a model that loads.
        weights: the model without wrappers, equal on all processes, what is trained of it, and its optimizer.
        accelerator: the processes of the run.
        keep: the number of last checkpoints that are kept.
        save_extras: writes into a directory the files that belong beside the weights (a tokenizer, for example).
    """

    def __init__(
        self,
        output_dir: Path,
        weights: WholeModel,
        accelerator: Accelerator,
        keep: int,
        save_extras: Callable[[Path], None],
    ) -> None:
        self.output_dir, self.weights, self.accelerator = output_dir, weights, accelerator
        self.model = weights.model
        self.keep, self.save_extras = keep, save_extras
        self.extra_files: set[str] = set()  # the files that `save_extras` writes, known after its first call

    # ---- the beginning of a run ----------------------------------------------------------------------------------

    def begin(
        self, identity: dict[str, Any], arguments: LoopArguments, resumed: bool, checkpoint: Path | None
    ) -> list[str]:
        """Prepares the directory for a new run, or for the next part of a run that was killed.

        Args:
            identity: what decides the result; see `check_identity`.
            resumed: whether the directory holds a run that now continues.
            checkpoint: the checkpoint from which it continues; None: it starts from the beginning.

        Returns:
            What there is to tell the user.

        Raises:
            FileExistsError: the directory holds what this run has not written; see `check_output_dir`.
        """
        told = []
        with self.staged_extras() as extras:
            if not resumed:
                check_output_dir(self.output_dir, overwrite=arguments.overwrite)  # again, as time has passed
                start_run(self.output_dir, identity, asdict(arguments), self.is_ours)
            for name in remove_unfinished(self.output_dir, self.is_ours):
                told.append(f"removed {name}, which a killed run had begun to write")
            if resumed and checkpoint is None:
                told.append("the run has no checkpoint yet: it starts from the beginning")
            if checkpoint is None:
                self.publish_model()  # so that the directory of a run that is killed soon loads, too
            self.publish(extras, files_in(extras))
        return told

    def is_ours(self, path: str) -> bool:
        """Says whether the run writes `path`, relative to `output_dir`; the path of a directory ends in a slash."""
        inside = re.sub(r"^(checkpoint|best)-[0-9]+/", "", without_temporary(path))
        is_extra = any(
            name.startswith(inside) if inside.endswith("/") else name == inside for name in self.extra_files
        )
        return is_run_entry(path) or is_extra

    @contextmanager
    def staged_extras(self) -> Iterator[Path]:
        """Gives a directory with the files that belong beside the weights, and remembers their names."""
        with tempfile.TemporaryDirectory() as directory:
            self.save_extras(Path(directory))
            self.extra_files |= set(files_in(Path(directory)))
            yield Path(directory)

    # ---- what the directory of the run itself holds --------------------------------------------------------------

    def publish(self, source: Path, names: list[str]) -> None:
        """Copies files of `source` into `output_dir`; each appears in one step.

        Raises:
            FileExistsError: a file stands there that the run has not written.
        """
        claim(self.output_dir, *(name.partition("/")[0] for name in names))
        publish(source, self.output_dir, names)

    def publish_model_of(self, source: Path) -> None:
        """Copies the files of the model in the directory `source` into `output_dir`."""
        self.publish(source, [name for name in files_in(source) if MODEL_FILE.fullmatch(name)])

    def publish_model(self) -> None:
        """Writes the present weights into `output_dir`."""
        directory = fresh_directory(self.output_dir / f"model{TEMPORARY}", self.is_ours)
        save_weights(self.model, directory)
        self.publish_model_of(directory)
        remove(directory, self.is_ours)

    # ---- checkpoints ---------------------------------------------------------------------------------------------

    def save(self, step: int, state: dict[str, Any]) -> None:
        """
        Writes a checkpoint, copies its weights into `output_dir`, and drops the checkpoints that are too old.

        Args:
            step: the number of updates so far.
            state: the fields of a `LoopState`.

        Raises:
            FloatingPointError: a weight is not finite; then nothing is written.
        """
        self.weights.gather()
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise FloatingPointError(f"the weights are not finite after update {step}: the training has diverged")
        optimizer_state = self.weights.optimizer_tensors()
        random_states = gather_object([random_state(self.accelerator.device)])
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            everything = state | {"scaler": None if scaler is None else scaler.state_dict()}
            checkpoint = self.output_dir / f"checkpoint-{step}"

            def write_all(directory: Path) -> None:
                write_state(directory / STATE, everything, optimizer_state, random_states)
                save_adapters(self.model, directory / STATE)

            self.write(checkpoint, write_all)
            self.publish_model_of(checkpoint)
            self.prune()
        self.accelerator.wait_for_everyone()

    def write(self, directory: Path, add: Callable[[Path], None]) -> None:
        """Writes the directory of a step: the model, the files beside it, and what `add` adds."""

        def fill(path: Path) -> None:
            self.save_extras(path)
            add(path)

        claim(self.output_dir, directory.name)
        save_model(self.model, directory, fill, self.is_ours)

    def load(self, checkpoint: Path) -> tuple[dict[str, Any], int]:
        """Restores weights, optimizer and random numbers.

        Returns:
            The fields of a `LoopState`, and the number of processes that wrote the checkpoint.

        Raises:
            ValueError: a file is damaged; the message names the file and the remedy.
        """
        restore_weights(self.model, checkpoint, remedy_for(checkpoint))
        process, device = self.accelerator.process_index, self.accelerator.device
        self.weights.scatter()
        state = read_state(checkpoint, self.weights, process, device)
        scaler, processes = state.pop("scaler"), state.pop("processes")
        if scaler is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(scaler)
        return state, processes

    def prune(self) -> None:
        """Drops, of the checkpoints before the last, what is not needed any more.

        A checkpoint that was not due goes as soon as there is a later one, and takes no other's place: so the
        checkpoints that are averaged are those of a run that nobody stopped.
        """
        *older, last = step_directories(self.output_dir, "checkpoint")
        for directory in [path for path in older if not is_scheduled(path)]:
            self.remove(directory)
            older.remove(directory)
        for directory in older[: max(len(older) + is_scheduled(last) - self.keep, 0)]:
            self.remove(directory)
        for directory in older:  # averaging needs the weights only
            remove(directory / STATE, self.is_ours, f"{directory.name}/{STATE}")

    def remove(self, directory: Path) -> None:
        """Removes a directory of the run. What others put into it stays, and does not belong to the run any more.

        The directory first gets a temporary name, so that a kill leaves no half of it under its final name.
        """
        going = directory.with_name(directory.name + TEMPORARY)
        if not remove(going, self.is_ours):
            os.rename(directory, going)
        release(self.output_dir, directory.name)
        if remove(going, self.is_ours) and not os.path.lexists(directory):
            os.rename(going, directory)

    # ---- the best weights ----------------------------------------------------------------------------------------

    def best(self) -> dict[str, Any] | None:
        """Returns `step`, `metric`, `value` and all `metrics` of the best evaluation so far; None before the first."""
        return read_best(self.output_dir)

    def keep_if_best(self, step: int, metrics: dict[str, float], metric: str, greater_is_better: bool) -> None:
        """Keeps the present weights instead of the best weights so far, if they are better by `metric`."""
        value, best = metrics[metric], self.best()
        kept = step_directories(self.output_dir, "best")[-1:]
        former = best["value"] if best is not None and best["metric"] == metric else math.nan
        if is_better(value, former, greater_is_better):
            record = {"step": step, "metric": metric, "value": value, "metrics": metrics}
            directory = self.output_dir / f"best-{step}"
            self.write(directory, lambda d: write_json(d / BEST_FILE, record))
            kept = [directory]
        for other in step_directories(self.output_dir, "best"):  # a killed run may have left two
            if other not in kept:
                self.remove(other)

    # ---- the end of a run ----------------------------------------------------------------------------------------

    def finish(self, choice: str) -> None:
        """Leaves in `output_dir` and in the model the weights that `choice`, a key of `FINAL_WEIGHTS`, names."""
        if self.accelerator.is_main_process:
            self.prune()  # a killed run may not have come to this after its last checkpoint
            FINAL_WEIGHTS[choice](self)
        self.accelerator.wait_for_everyone()
        load_weights(self.model, self.output_dir)


def finish_last(manager: CheckpointManager) -> None:
    """Publishes the last checkpoint."""
    manager.publish_model_of(step_directories(manager.output_dir, "checkpoint")[-1])


def finish_best(manager: CheckpointManager) -> None:
    """Publishes the weights of the best evaluation."""
    manager.publish_model_of(step_directories(manager.output_dir, "best")[-1])


def finish_average(manager: CheckpointManager) -> None:
    """Publishes the mean of the last checkpoints (section 6.1)."""
    checkpoints = step_directories(manager.output_dir, "checkpoint")[-manager.keep :]
    directory = fresh_directory(manager.output_dir / f"average{TEMPORARY}", manager.is_ours)
    save_weights(manager.model, directory)
    for file in [*weight_files(directory), directory / INDEX]:
        file.unlink(missing_ok=True)
    save_file(average_checkpoints(checkpoints), directory / WEIGHTS, metadata={"format": "pt"})
    load_weights(manager.model, directory)
    manager.publish_model()
    remove(directory, manager.is_ours)


FINAL_WEIGHTS: dict[str, Callable[[CheckpointManager], None]] = {
    "last": finish_last,
    "best": finish_best,
    "average": finish_average,
}
