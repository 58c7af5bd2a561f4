"""The forecast of a run: how many updates its limits allow, by a few updates that are measured and undone."""

import copy
import math
import sys
import time
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate.utils import broadcast_object_list

from ...data.quantities import counted
from ..loop import TrainingLoop
from ..run_directory.random_numbers import random_state, set_random_state

# With fewer updates, no model with new weights learns anything of use.
FEWEST_UPDATES = 200
# How long the measurement should take, and its most updates, beside the first one, which also warms up.
MEASURED_SECONDS, MOST_MEASURED = 2.0, 8


@dataclass(frozen=True)
class Measured:
    """What a few updates cost.

    Attributes:
        seconds: of one update.
        state_bytes: of the optimizer's state, on one process.
        peak_bytes: the most memory that was in use: of the device, or on a CPU of the whole process; None: unknown.
    """

    seconds: float
    state_bytes: int
    peak_bytes: int | None


def measure(loop: TrainingLoop) -> Measured:
    """Makes a few updates of the first epoch, and undoes them: the run that follows is the same, bit for bit.

    All processes call it, before `loop.run`.

    Raises:
        ValueError: the data give no update, or are a stream of which only a number of epochs is wanted.
    """
    with undone(loop):
        loop.progress.start_epoch(loop.train_batches)
        seconds = seconds_of_an_update(loop)
        state = [value for values in loop.optimizer.state.values() for value in values.values()]
        parts = [part_of_process(value) for value in state if torch.is_tensor(value)]
        state_bytes = sum(part.numel() * part.element_size() for part in parts)
        return Measured(seconds, state_bytes, peak_memory(loop.accelerator.device))


def seconds_of_an_update(loop: TrainingLoop) -> float:
    """Makes updates, and returns the mean time that they took on the main process, with the work of making batches.

    The first one does not count where there are more, because many things are done only once.
    """
    times: list[float] = []
    updates, began = loop.train_batches.updates(), time.monotonic()
    while len(times) <= MOST_MEASURED and sum(times[1:]) < MEASURED_SECONDS:
        if (pieces := next(updates, None)) is None:
            break
        if not loop.update(pieces):  # the memory was too small; from now on they come in smaller pieces
            updates, began = loop.train_batches.updates(), time.monotonic()
            continue
        if loop.accelerator.device.type != "cpu":
            torch.accelerator.synchronize()
        now = time.monotonic()
        times.append(agreed(loop, now - began))
        began = now
    if not times:
        raise ValueError("the training data give no update: they are empty")
    counted = times[1:] or times
    return sum(counted) / len(counted)


def part_of_process(tensor: torch.Tensor) -> torch.Tensor:
    """Returns what this process holds of a tensor that may be divided over the processes."""
    part: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def agreed(loop: TrainingLoop, value: float) -> float:
    """Returns the value of the main process."""
    values = [value]
    if loop.accelerator.num_processes > 1:
        broadcast_object_list(values)
    return values[0]


@contextmanager
def undone(loop: TrainingLoop) -> Iterator[None]:
    """Restores, at the end, all that updates change: weights, optimizer, loss scale, random numbers and counters."""
    model, scaler = loop.model, loop.accelerator.scaler
    back = loop.weights.undo()
    random_numbers = random_state(loop.accelerator.device)
    scale = None if scaler is None else scaler.state_dict()
    counters, mode = copy.deepcopy(vars(loop.state)), model.training
    model.train()
    try:
        yield
    finally:
        back()
        if scaler is not None:
            scaler.load_state_dict(scale)
        vars(loop.state).update(counters | {"pieces": loop.state.pieces})  # the batches stay as finely cut
        loop.measurements = loop.updater.measurements = loop.new_measurements()
        set_random_state(random_numbers, loop.accelerator.device)
        model.train(mode)


def peak_memory(device: torch.device) -> int | None:
    """Returns the most bytes that were in use so far: of a CUDA device, or on a CPU of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type != "cpu" or sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)


@dataclass(frozen=True)
class Forecast:
    """How far a run gets.

    Attributes:
        updates: the updates until the first limit is reached.
        minutes: the time that they take, without evaluations.
        epochs: of the data; None for a stream.
        in_time: whether the limit in minutes is the one that is reached first.
    """

    updates: int
    minutes: float
    epochs: float | None
    in_time: bool

    def __str__(self) -> str:
        epochs = "" if self.epochs is None else f", {counted(self.epochs, 'epochs', '.3g')}"
        minutes = counted(self.minutes, "minutes", "g" if self.in_time else ".3g")
        time_given = f"in the {minutes}" if self.in_time else f"in about {minutes}"
        return f"about {counted(self.updates, 'updates')}{epochs}, {time_given}"


def forecast(loop: TrainingLoop, seconds: float) -> Forecast:
    """Says how far a run gets whose updates take so many seconds each; evaluations and checkpoints are left out."""
    arguments, batches = loop.arguments, loop.train_batches
    size = len(batches) if isinstance(batches, Sized) else None
    allowed = []
    if arguments.max_steps is not None:
        allowed.append(float(arguments.max_steps))
    if arguments.num_train_epochs is not None and size is not None:
        allowed.append(arguments.num_train_epochs * size)
    in_time = arguments.max_minutes is not None and 60 * arguments.max_minutes / seconds < min(allowed, default=1e18)
    if in_time:
        assert arguments.max_minutes is not None
        # An update that has begun is finished.
        updates, minutes = int(60 * arguments.max_minutes / seconds) + 1, arguments.max_minutes
    else:
        updates = round(min(allowed))
        minutes = updates * seconds / 60
    return Forecast(updates, minutes, None if size is None else updates / size, in_time)


def warnings(
    loop: TrainingLoop, expected: Forecast, *, is_new: bool, is_planned: bool, is_dry: bool = False
) -> list[str]:
    """Returns what is hopeless about a run, with the remedy.

    Args:
        is_new: the model has new weights, and not those of a checkpoint.
        is_planned: its size is planned, and not that of a preset.
        is_dry: there will be no run, which by itself warns of what does not depend on the time.
    """
    arguments, told = loop.arguments, []
    if expected.in_time and is_new and expected.updates < FEWEST_UPDATES:
        least = math.ceil(expected.minutes * FEWEST_UPDATES / expected.updates)
        smaller = "" if is_planned else ", or leave out --preset, so that the size fits the time"
        told.append(
            f"a model with new weights usually learns little in fewer than {FEWEST_UPDATES} updates: give "
            f"--max_minutes {least} or more{smaller}"
        )
    is_within_warmup = arguments.warmup_ratio is None and expected.updates <= arguments.warmup_steps
    if is_within_warmup and (expected.in_time or is_dry):
        told.append(
            f"the training ends within the warm-up of {counted(arguments.warmup_steps, 'updates')}, so the learning "
            f"rate never reaches its peak: give --warmup_steps {max(expected.updates // 20, 1)}"
        )
    return [f"warning: {line}" for line in told]
