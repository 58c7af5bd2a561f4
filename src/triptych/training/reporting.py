"""Where the numbers of a run go: log lines, a progress bar, metrics.jsonl, and the trackers of accelerate."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from tqdm.auto import tqdm

from ..files import write_text
from .run_directory.record import METRICS_FILE

FORMATS = {"learning_rate": ".3e", "epoch": ".2f", "minutes": ".2f", "tokens_per_second": ",.0f"}


def line(step: int, values: dict[str, Any]) -> str:
    """Returns a log line: `step 100 | minutes 0.52 | loss 4.321 | ...`."""
    parts = [f"{k} {v:{FORMATS.get(k, '.4g')}}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items()]
    return " | ".join([f"step {step}", *parts])


def duration(seconds: float) -> str:
    """Returns a time such as `3:07` or `2:03:07`."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


class Reporter:
    """Reports the progress and the numbers of a run, on the main process only.

    Args:
        progress_bar: show a bar where the output is a terminal.
    """

    def __init__(self, accelerator: Accelerator, output_dir: Path, progress_bar: bool) -> None:
        self.accelerator, self.file = accelerator, output_dir / METRICS_FILE
        self.main = accelerator.is_main_process
        shown = self.main and progress_bar and sys.stdout.isatty()
        bar_format = "{percentage:3.0f}% |{bar}| {desc}"
        self.bar = tqdm(total=1.0, bar_format=bar_format, disable=not shown, leave=False, mininterval=0.5)
        self.began = (time.monotonic(), 0.0)  # time and progress when this process began to train

    def say(self, text: str) -> None:
        """Writes a line to the terminal, above the bar."""
        if self.main:
            self.bar.write(text, file=sys.stdout)
            sys.stdout.flush()

    def forget_after(self, step: int) -> None:
        """Drops from metrics.jsonl what a killed run had reported after the checkpoint from which it now continues."""
        if self.main and self.file.exists():
            # A machine that went down may have left anything at the end of the file; these lines are dropped, too.
            lines = self.file.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [text for text in lines if _step(text) <= step]
            write_text(self.file, "".join(f"{text}\n" for text in kept))

    def eta(self, progress: float) -> float:
        """Returns the seconds that are left at the speed so far."""
        time_then, progress_then = self.began
        return (time.monotonic() - time_then) * (1 - progress) / max(progress - progress_then, 1e-9)

    def begin(self, progress: float) -> None:
        """Starts the measurement of the speed; `progress` is the part of the training that is done."""
        self.began = (time.monotonic(), progress)

    def advance(self, progress: float) -> None:
        """Moves the bar."""
        if not self.bar.disable:
            self.bar.update(min(progress, 1.0) - self.bar.n)

    def report(self, step: int, values: dict[str, Any], progress: float) -> None:
        """Writes a record of metrics to the file, the trackers and the terminal."""
        if not self.main:
            return
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | values) + "\n")
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        self.accelerator.log(numbers, step=step)
        left = f" | ETA {duration(self.eta(progress))}" if "loss" in values and progress < 1 else ""
        if "loss" in values:
            self.bar.set_description_str(line(step, values) + left, refresh=False)
        if self.bar.disable or "loss" not in values:
            self.say(line(step, values) + left)

    def close(self) -> None:
        """Removes the bar."""
        self.bar.close()


def _step(text: str) -> float:
    """Returns the step of a line of metrics.jsonl; infinity for a line that a kill has cut off."""
    try:
        return float(json.loads(text)["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return float("inf")
