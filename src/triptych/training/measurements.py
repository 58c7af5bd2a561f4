"""What training measures between two log lines: mean loss, learning rate, speed, padding, memory and utilisation."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from .objective import Piece
from .throughput import Operations, Work, memory_in_use, peak_rate


class Measurements:
    """
    Collects numbers on the device, so that an update waits for nothing; only the methods that return numbers wait.

    Args:
        model: the model without wrappers, whose operations are estimated.
        sides: side of a row → the column of its tokens; see `Task.sides`.

    Attributes:
        learning_rate: of the last update.
        gradient_norm: of the last update, before clipping; None without clipping.
    """

    def __init__(self, accelerator: Accelerator, model: nn.Module, sides: Mapping[str, str]) -> None:
        self.accelerator = accelerator
        # Sums since the last log line: the loss times the items (of this process), and the items (of all processes).
        self.work, self.operations = Work(sides, accelerator.device), Operations(model)
        self.sums = torch.zeros(2, dtype=self.work.sums.dtype, device=accelerator.device)
        self.learning_rate = 0.0
        self.gradient_norm: Tensor | None = None
        self.since = time.monotonic()  # the time from which the speed counts
        self.earlier = [0.0, 0.0]  # the part of the sums that an earlier process has made

    def add(self, pieces: list[Piece], losses: list[Tensor], items: Tensor) -> None:
        """Adds the pieces of this process of an update, and their losses, which were divided by the items.

        Args:
            items: the items of the update, of all processes.
        """
        for piece, loss in zip(pieces, losses, strict=True):
            self.sums[0] += loss * items
            self.work.add(piece)
        self.sums[1] += items

    def totals(self, step: int) -> list[float]:
        """Returns the sums of all processes since the last log line: the loss times the items, and the items.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        loss_sum = self.accelerator.reduce(self.sums[0].clone(), "sum").item()
        if not math.isfinite(loss_sum):
            raise FloatingPointError(
                f"the loss is {loss_sum} at update {step}: the training has diverged. The last checkpoint is "
                "untouched; a lower learning_rate or learning_rate_scale, a longer warmup or max_grad_norm helps"
            )
        return [loss_sum, self.sums[1].item()]

    def log_values(self, step: int) -> dict[str, float]:
        """Returns the values of a log line, and starts the next one; docs/training/running.md says what they mean."""
        loss_sum, items = self.totals(step)
        work = self.accelerator.reduce(self.work.sums.clone(), "sum").tolist()
        now, device = time.monotonic(), self.accelerator.device
        seconds = max(now - self.since, 1e-9)
        values = {
            "loss": loss_sum / max(items, 1.0),
            "learning_rate": self.learning_rate,
            "tokens_per_second": self.work.tokens(work) / seconds,
            "padding": self.work.padding(work),
        }
        if self.gradient_norm is not None:
            values["gradient_norm"] = float(self.gradient_norm)
        peak = peak_rate(device, self.accelerator.mixed_precision) * self.accelerator.num_processes
        values["memory_gb"] = memory_in_use(device)
        values["mfu"] = self.operations.count(work, items - self.earlier[1]) / seconds / peak
        self.sums.zero_()
        self.work.clear()
        self.since, self.earlier = now, [0.0, 0.0]
        return values

    def so_far(self) -> dict[str, float]:
        """Returns the loss and the speed since the last log line, without asking other processes.

        With several processes they are estimates by the share of this one, which is about as large as the others.
        """
        processes, (loss_sum, items) = self.accelerator.num_processes, self.sums.tolist()
        loss_sum = self.earlier[0] + (loss_sum - self.earlier[0]) * processes
        tokens = self.work.tokens(self.work.sums.tolist()) * processes
        seconds = max(time.monotonic() - self.since, 1e-9)
        return {"loss": loss_sum / max(items, 1.0), "tokens_per_second": tokens / seconds}

    def restore(self, totals: list[float]) -> None:
        """Continues with the sums of a killed run; the main process holds the part of all processes."""
        self.earlier = [totals[0] if self.accelerator.is_main_process else 0.0, totals[1]]
        self.sums.copy_(torch.tensor(self.earlier, dtype=self.sums.dtype))

    def start_clock(self) -> None:
        """Lets the speed count from now on."""
        self.since = time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around work that is not training: its time does not count for the speed."""
        began = time.monotonic()
        yield
        self.since += time.monotonic() - began
