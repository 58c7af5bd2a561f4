"""Where the numbers of a run go: log lines, a progress bar, metrics.jsonl, and the trackers of accelerate."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import TensorBoardTracker
from tqdm import tqdm

from ..files import write_text
from .run_directory.record import METRICS_FILE, TRACKER_DIRECTORY

# How a value is written in a log line; `{}` is the number. Others are `name 1.234`.
FORMATS = {
    "learning_rate": "lr {:.3e}",
    "epoch": "epoch {:.2f}",
    "minutes": "minutes {:.2f}",
    "tokens_per_second": "{:,.0f} tokens/s",
    "padding": "padding {:.0%}",
    "memory_gb": "{:.2f} GB",
    "mfu": "MFU {:.0%}",
}
REFRESH = 0.5  # seconds between two movements of the bar
SMALLEST_BAR = 12  # columns that the bar and its percentage need beside the text


def line(step: int, values: dict[str, Any]) -> list[str]:
    """Returns the parts of a log line: `step 100`, `minutes 0.52`, `loss 4.321`, ..."""
    formats = {name: FORMATS.get(name, f"{name} {{:.4g}}") for name in values}
    parts = [formats[k].format(v) if isinstance(v, float) else f"{k} {v}" for k, v in values.items()]
    return [f"step {step}", *parts]


def fold(parts: Sequence[str], width: int | None) -> str:
    """Joins the parts of a line with bars; where they are wider than `width`, they go on in indented lines."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]} | {part}"
        if width is None or len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(f"    {part}")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Returns a time such as `3:07` or `2:03:07`."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def beside_the_bar(loss: float, speed: float, left: float, width: int) -> str:
    """Returns loss, speed and time that is left, in the longest of three ways that leaves room for a bar."""
    ways = (
        f"loss {loss:.4g} | {speed:,.0f} tokens/s | ETA {duration(left)}",
        f"loss {loss:.3g} | {speed:,.0f}/s | {duration(left)}",
        f"{loss:.3g} {speed:.0f}/s {duration(left)}",
    )
    return next((way for way in ways if len(way) + SMALLEST_BAR <= width), ways[-1])


class Reporter:
    """Reports the progress and the numbers of a run, on the main process only: the terminal's part of it on stderr.

    Args:
        progress_bar: show a bar where stderr is a terminal.
        trackers: names of trackers of accelerate that also get the numbers; `create_accelerator` has checked them.
    """

    def __init__(
        self, accelerator: Accelerator, output_dir: Path, progress_bar: bool, trackers: Sequence[str] = ()
    ) -> None:
        self.accelerator, self.output_dir, self.trackers = accelerator, output_dir, trackers
        self.main, self.file = accelerator.is_main_process, output_dir / METRICS_FILE
        self.shows_bar = self.main and progress_bar and sys.stderr.isatty()
        self.bar: Any = None  # from `begin` on; before, it would stand in the way of other output
        self.moved = -REFRESH  # when the bar was last moved
        self.began = (time.monotonic(), 0.0)  # time and progress when this process began to train

    @staticmethod
    def width() -> int | None:
        """The columns of the terminal; None where stderr is none."""
        return shutil.get_terminal_size().columns if sys.stderr.isatty() else None

    def say(self, text: str) -> None:
        """Writes a line to the terminal, above the bar."""
        if self.main:
            tqdm.write(text, file=sys.stderr)
            sys.stderr.flush()

    def forget_after(self, step: int) -> None:
        """Drops from metrics.jsonl what a killed run had reported after the checkpoint from which it now continues."""
        if self.main and self.file.exists():
            # A machine that went down may have left anything at the end of the file; these lines are dropped, too.
            lines = self.file.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [text for text in lines if _step(text) <= step]
            write_text(self.file, "".join(f"{text}\n" for text in kept))

    def start_trackers(self) -> None:
        """Starts the trackers: TensorBoard in its own directory of the run, the others under the name of the run."""
        if self.trackers and self.main:
            accelerator = self.accelerator
            accelerator.log_with = [
                TensorBoardTracker(TRACKER_DIRECTORY, accelerator.logging_dir) if name == "tensorboard" else name
                for name in self.trackers
            ]
            accelerator.init_trackers(self.output_dir.name)

    def eta(self, progress: float) -> float:
        """Returns the seconds that are left at the speed so far."""
        time_then, progress_then = self.began
        return (time.monotonic() - time_then) * (1 - progress) / max(progress - progress_then, 1e-9)

    def begin(self, progress: float) -> None:
        """Shows the bar and starts the measurement of the speed; `progress` is the part that is done."""
        self.began = (time.monotonic(), progress)
        if self.shows_bar:
            self.bar = tqdm(
                total=1.0,
                initial=progress,
                bar_format="{percentage:3.0f}% |{bar}| {desc}",
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
            )

    def advance(self, progress: float, measured: Callable[[], dict[str, float]]) -> None:
        """Moves the bar, from the first update on and then a few times a second.

        Args:
            measured: gives `loss` and `tokens_per_second`; it may wait for the device, so it is asked seldom.
        """
        now = time.monotonic()
        if self.bar is not None and now - self.moved >= REFRESH:
            self.moved, values = now, measured()
            loss, speed, left = values["loss"], values["tokens_per_second"], self.eta(progress)
            text = beside_the_bar(loss, speed, max(left, 0.0), self.width() or 0)
            self.bar.n = min(progress, 1.0)
            self.bar.set_description_str(text, refresh=True)

    def report(self, step: int, values: dict[str, Any], progress: float) -> None:
        """Writes a record of metrics to the file, the trackers and the terminal."""
        if not self.main:
            return
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | values) + "\n")
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        self.accelerator.log(numbers, step=step)
        left = [f"ETA {duration(self.eta(progress))}"] if "loss" in values and progress < 1 else []
        self.say(fold([*line(step, values), *left], self.width()))

    def close(self) -> None:
        """Removes the bar, and ends the trackers."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        while self.accelerator.trackers:
            self.accelerator.trackers.pop().finish()


def _step(text: str) -> float:
    """Returns the step of a line of metrics.jsonl; infinity for a line that a kill has cut off."""
    try:
        return float(json.loads(text)["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return float("inf")
