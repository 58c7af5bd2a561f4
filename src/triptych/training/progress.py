"""How far a run has come on the way to its limits, and when something is due."""

import math
import time
from collections.abc import Sized

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from .arguments import LoopArguments
from .objective import Batches
from .run_directory import LoopState

LINES = 40  # of the log of a run, where nobody says how many updates lie between two of them
MOST_UPDATES = 100  # between two of these lines


class Progress:
    """
    Compares where a run stands with its limits: max_steps, num_train_epochs and max_minutes.

    Args:
        arguments: the limits.
        state: where the run stands. `Progress` writes its `seconds`; the loop writes the other fields.
        accelerator: the processes, which have to agree on the time.
    """

    def __init__(self, arguments: LoopArguments, state: LoopState, accelerator: Accelerator) -> None:
        self.arguments, self.state, self.accelerator = arguments, state, accelerator
        self.epoch_size: int | None = None  # updates in the current epoch; None where it is not known
        self.started = 0.0  # the time of the clock at which the run would have started without an interruption

    def start_epoch(self, batches: Batches) -> None:
        """Sets the epoch of the batches, and reads the number of updates in it.

        Raises:
            ValueError: the epoch is empty; or its size is not known, and no other limit than epochs is given.
        """
        batches.set_epoch(self.state.epoch)
        self.epoch_size = len(batches) if isinstance(batches, Sized) else None
        if self.epoch_size == 0:
            raise ValueError("the training data give no update: they are empty")
        if self.epoch_size is None and self.arguments.max_steps is None and self.arguments.max_minutes is None:
            raise ValueError(
                "the training data are a stream, so the number of updates in an epoch is not known: give max_steps or "
                "max_minutes"
            )

    def start_clock(self) -> None:
        """Lets the clock go on from the time that the run has taken so far."""
        self.started = time.monotonic() - self.state.seconds

    def tick(self) -> None:
        """Reads the clock. Where the time decides something, the clock of the main process counts for all."""
        seconds = time.monotonic() - self.started
        if self.arguments.needs_clock and self.accelerator.num_processes > 1:
            dtype = torch.float32 if self.accelerator.device.type == "mps" else torch.float64
            seconds = broadcast(torch.tensor(seconds, dtype=dtype, device=self.accelerator.device)).item()
        self.state.seconds = seconds

    @property
    def epochs(self) -> float:
        """The epochs that are done; of an epoch whose size is not known, only the end counts."""
        done = 0.0 if self.epoch_size is None else self.state.updates / self.epoch_size
        return self.state.epoch + done

    @property
    def fraction(self) -> float:
        """The part of the training that is done, by the limit that is nearest; 1 or more at the end."""
        arguments, state = self.arguments, self.state
        fractions = [0.0]
        if arguments.max_steps is not None:
            fractions.append(state.step / arguments.max_steps)
        if arguments.num_train_epochs is not None:
            fractions.append(self.epochs / arguments.num_train_epochs)
        if arguments.max_minutes is not None:
            fractions.append(state.seconds / (60 * arguments.max_minutes))
        return max(fractions)

    @property
    def expected_steps(self) -> int | None:
        """The updates at which the run will end, by max_steps and num_train_epochs; None where the time decides."""
        limits = []
        if self.arguments.max_steps is not None:
            limits.append(self.arguments.max_steps)
        if self.arguments.num_train_epochs is not None and self.epoch_size is not None:
            limits.append(math.ceil(self.arguments.num_train_epochs * self.epoch_size))
        return min(limits, default=None)

    @property
    def logging_steps(self) -> int:
        """The updates between two log lines: those that are given; else so many that the whole run has about `LINES`
        lines, and at most `MOST_UPDATES`."""
        if self.arguments.logging_steps is not None:
            return self.arguments.logging_steps
        fraction = self.fraction
        expected = round(self.state.step / fraction) if fraction else LINES * MOST_UPDATES
        return min(max(math.ceil(expected / LINES), 1), MOST_UPDATES)

    def evaluation_is_due(self, epoch_ended: bool) -> bool:
        """Says whether it is time for an evaluation: by steps, or by minutes, or at the end of every epoch."""
        arguments = self.arguments
        return self._is_due(
            arguments.evaluation_steps, arguments.evaluation_minutes, self.state.evaluated_at, epoch_ended
        )

    def checkpoint_is_due(self, epoch_ended: bool) -> bool:
        """Says whether it is time for a checkpoint: by steps, or by minutes, or at the end of every epoch."""
        return self._is_due(self.arguments.save_steps, self.arguments.save_minutes, self.state.saved_at, epoch_ended)

    def _is_due(self, steps: int | None, minutes: float | None, last: float, epoch_ended: bool) -> bool:
        if steps is not None:
            return self.state.step % steps == 0
        if minutes is not None:
            return self.state.seconds - last >= 60 * minutes
        return epoch_ended
