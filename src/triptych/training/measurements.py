"""What training measures between two log lines: mean loss, speed, learning rate and the norm of the gradient."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor


class Measurements:
    """
    Collects numbers on the device, so that an update waits for nothing; only `totals` and `log_values` wait.

    Attributes:
        learning_rate: of the last update.
        gradient_norm: of the last update, before clipping; None without clipping.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        # Sums since the last log line: the loss times the items (of this process), and the items (of all processes).
        dtype = torch.float32 if accelerator.device.type == "mps" else torch.float64
        self.sums = torch.zeros(2, dtype=dtype, device=accelerator.device)
        self.learning_rate = 0.0
        self.gradient_norm: Tensor | None = None
        self.since, self.items_before = time.monotonic(), 0.0  # the time and the items at which the speed starts

    def add_loss(self, loss: Tensor, items: Tensor) -> None:
        """Adds the loss of a piece of this process, which was divided by the items of its update."""
        self.sums[0] += loss * items

    def add_items(self, items: Tensor) -> None:
        """Adds the items of an update, of all processes."""
        self.sums[1] += items

    def totals(self, step: int) -> tuple[float, float]:
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
        return loss_sum, self.sums[1].item()

    def log_values(self, step: int) -> dict[str, float]:
        """Returns the values of a log line, and starts the next one.

        `tokens_per_second` are the items that the objective counts first: target tokens, or labels of another kind.
        """
        loss_sum, items = self.totals(step)
        now = time.monotonic()
        values = {
            "loss": loss_sum / max(items, 1.0),
            "learning_rate": self.learning_rate,
            "tokens_per_second": (items - self.items_before) / max(now - self.since, 1e-9),
        }
        if self.gradient_norm is not None:
            values["gradient_norm"] = float(self.gradient_norm)
        self.sums.zero_()
        self.since, self.items_before = now, 0.0
        return values

    def restore(self, totals: list[float]) -> None:
        """Continues with the sums of a killed run; the main process holds the part of all processes."""
        self.sums[0] = totals[0] if self.accelerator.is_main_process else 0.0
        self.sums[1] = totals[1]

    def start_clock(self) -> None:
        """Lets the speed count from now on; items that an earlier process has trained on do not count."""
        self.since, self.items_before = time.monotonic(), self.sums[1].item()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around work that is not training: its time does not count for the speed."""
        began = time.monotonic()
        yield
        self.since += time.monotonic() - began
