"""Which weights of a run are kept on disk: the last checkpoints, the best, and those that it ends with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import save_file
from torch import nn

from .averaging import average_checkpoints, weight_files
from .checkpoints import (
    STATE,
    load_weights,
    random_state,
    read_state,
    save_model,
    step_directories,
    write_state,
)
from .files import TEMPORARY, publish, read_json, remove, write_json

BEST_FILE = "best.json"


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
            save_model(
                self.model,
                checkpoint,
                self.extras,
                lambda d: write_state(d / STATE, everything, self.model, self.optimizer, random_states),
            )
            publish(checkpoint, self.output_dir)
            *older, _ = step_directories(self.output_dir, "checkpoint")
            for directory in older[: max(len(older) + 1 - self.keep, 0)]:
                remove(directory)
            for directory in older:  # for averaging, weights are enough
                remove(directory / STATE)
        self.accelerator.wait_for_everyone()

    def load(self, checkpoint: Path) -> tuple[dict[str, Any], int]:
        """Restores weights, optimizer and random numbers; returns the other state, and the number of processes."""
        load_weights(self.model, checkpoint)
        process, device = self.accelerator.process_index, self.accelerator.device
        state = read_state(checkpoint / STATE, self.model, self.optimizer, process, device)
        scaler, processes = state.pop("scaler"), state.pop("processes")
        if scaler is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(scaler)
        return state, processes

    def best(self) -> dict[str, Any] | None:
        """`step`, `metric`, `value` and all `metrics` of the best evaluation so far."""
        found = step_directories(self.output_dir, "best")
        return read_json(found[-1] / BEST_FILE) if found else None

    def keep_if_best(self, step: int, metrics: dict[str, float], metric: str, greater_is_better: bool) -> None:
        """Keeps the present weights instead of the best so far, if they are better."""
        value, best, sign = metrics[metric], self.best(), 1 if greater_is_better else -1
        if best is not None and best["metric"] == metric and sign * value <= sign * best["value"]:
            return
        record = {"step": step, "metric": metric, "value": value, "metrics": metrics}
        former, directory = step_directories(self.output_dir, "best"), self.output_dir / f"best-{step}"
        save_model(self.model, directory, self.extras, lambda d: write_json(d / BEST_FILE, record))
        for other in former:
            if other != directory:
                remove(other)

    def publish_model(self) -> None:
        """Brings the present weights into `output_dir`."""
        directory = self.output_dir / f"model{TEMPORARY}"
        remove(directory)
        self.model.save_pretrained(directory)  # type: ignore[operator]
        publish(directory, self.output_dir)
        remove(directory)

    def finish(self, choice: str) -> None:
        """Leaves the weights that `choice`, a key of `FINAL_WEIGHTS`, names in `output_dir` and in the model."""
        if self.accelerator.is_main_process:
            FINAL_WEIGHTS[choice](self)
        self.accelerator.wait_for_everyone()
        load_weights(self.model, self.output_dir)


def finish_last(keeper: Keeper) -> None:
    publish(step_directories(keeper.output_dir, "checkpoint")[-1], keeper.output_dir)


def finish_best(keeper: Keeper) -> None:
    publish(step_directories(keeper.output_dir, "best")[-1], keeper.output_dir)
    remove(keeper.output_dir / BEST_FILE)


def finish_average(keeper: Keeper) -> None:
    checkpoints = step_directories(keeper.output_dir, "checkpoint")[-keeper.keep :]
    directory = keeper.output_dir / f"average{TEMPORARY}"
    remove(directory)
    keeper.model.save_pretrained(directory)  # type: ignore[operator]
    for file in weight_files(directory):
        remove(file)
    remove(directory / "model.safetensors.index.json")
    save_file(average_checkpoints(checkpoints), directory / "model.safetensors", metadata={"format": "pt"})
    load_weights(keeper.model, directory)
    keeper.publish_model()
    remove(directory)


FINAL_WEIGHTS: dict[str, Callable[[Keeper], None]] = {
    "last": finish_last,
    "best": finish_best,
    "average": finish_average,
}
