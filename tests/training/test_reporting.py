"""Where the numbers of a run are seen: the terminal, and the trackers."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from triptych.training import LoopArguments
from triptych.training import accelerator as accelerators
from triptych.training.interruption import Interrupted
from triptych.training.progress import Progress
from triptych.training.reporting import beside_the_bar, duration, fold, line
from triptych.training.run_directory import LoopState

OPTIONS = "--max_steps 6 --warmup_steps 9 --logging_steps 2 --report_to none --cpu_threads 1 --cpu true"
BAR = re.compile(r" *\d+% \|")


class Screen:
    """A terminal of so many columns, which knows carriage return, line feed and nothing else.

    Attributes:
        lines: what it shows; the last is the one with the cursor.
        bars: every progress bar that it has shown.
    """

    def __init__(self, columns):
        self.columns, self.lines, self.column, self.bars = columns, [""], 0, []

    def write(self, text):
        for character in text:
            if character in "\r\n":
                if BAR.match(self.lines[-1]):
                    self.bars.append(self.lines[-1].rstrip())
                self.column = 0
                self.lines += [""] * (character == "\n")
            else:
                assert character >= " ", repr(character)
                assert self.column < self.columns or not BAR.match(self.lines[-1]), "the bar is broken into two lines"
                shown = self.lines[-1].ljust(self.column)
                self.lines[-1] = shown[: self.column] + character + shown[self.column + 1 :]
                self.column += 1


def in_a_terminal(columns, *command):
    """The screen after a program has run in a terminal."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=its, stderr=its, env=environment)
    os.close(its)
    seen = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    assert process.wait() == 0, seen.decode()
    screen = Screen(columns)
    screen.write(seen.decode())
    return screen


def tiny_program(output_dir, *options):
    return [Path(__file__).with_name("tiny_run.py"), *OPTIONS.split(), "--output_dir", output_dir, *options]


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 40])
def test_the_bar_fits_and_the_log_lines_stay(tmp_path, columns):
    screen = in_a_terminal(columns, *tiny_program(tmp_path))
    assert screen.bars
    assert max(map(len, screen.bars)) <= columns
    # The bar stands empty until the first update, and then always has its numbers.
    first = next(number for number, bar in enumerate(screen.bars) if not re.fullmatch(r" *\d+% \|\s*\|", bar))
    long, short = r"\| loss \d\S* \| [\d,]+ tokens/s \| ETA \d+:\d\d$", r"\d\S*.* [\d,]+/s.* \d+:\d\d$"
    numbers = long if columns > 60 else short
    for bar in screen.bars[first:]:
        assert re.search(numbers, bar), bar
    shown = "\n".join(screen.lines)
    for step in (2, 4, 6):
        assert re.search(rf"^step {step} \| minutes", shown, re.MULTILINE), shown
    assert re.search("^warning: the training ends after 6 updates, within the warmup of 9", shown, re.MULTILINE)
    assert not any(BAR.match(row) for row in screen.lines)  # it is gone at the end
    assert "best validation_loss" in screen.lines[-2]


@pytest.mark.parametrize(
    ("terminal", "wanted", "shown"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_bar_is_shown_in_a_terminal_unless_it_is_not_wanted(
    tiny_run, tmp_path, capsys, monkeypatch, terminal, wanted, shown
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    tiny_run.loop(tmp_path, max_steps=2, progress_bar=wanted).run()
    said = capsys.readouterr().err
    assert bool(re.search(r"\d+% \|.*\| loss \d", said)) == shown
    assert "step 2 | minutes" in said


def test_the_text_beside_the_bar_leaves_room_for_it():
    numbers = {"loss": 12.3456, "speed": 123456.7, "left": 36_061.0}
    assert beside_the_bar(**numbers, width=80) == "loss 12.35 | 123,457 tokens/s | ETA 10:01:01"
    assert beside_the_bar(**numbers, width=50) == "loss 12.3 | 123,457/s | 10:01:01"
    assert beside_the_bar(**numbers, width=40) == "12.3 123457/s 10:01:01"
    assert [duration(seconds) for seconds in (7, 187, 7387)] == ["0:07", "3:07", "2:03:07"]


def test_a_log_line_is_folded_at_its_bars():
    values = {"minutes": 0.5, "loss": 1.23456, "padding": 0.126, "memory_gb": 1.5, "mfu": 0.314}
    parts = line(100, values | {"weights": "b"})
    whole = "step 100 | minutes 0.50 | loss 1.235 | padding 13% | 1.50 GB | MFU 31% | weights b"
    assert fold(parts, None) == fold(parts, 90) == whole
    folded = ["step 100 | minutes 0.50 | loss 1.235", "    padding 13% | 1.50 GB | MFU 31%", "    weights b"]
    assert fold(parts, 40).splitlines() == folded


@pytest.mark.parametrize(
    ("limits", "steps", "between"),
    [
        ({"max_steps": 6}, 3, 1),
        ({"max_steps": 79}, 7, 2),
        ({"max_steps": 1000}, 1, 25),
        ({"max_steps": 10**6}, 999, 100),
        ({"max_steps": 1000, "logging_steps": 300}, 1, 300),
        ({"num_train_epochs": 2.0}, 5, 3),  # two epochs of 50 updates
        ({"max_minutes": 1.0}, 4, 5),  # 4 updates in 1.2 seconds, so 200 in a minute
        ({"max_minutes": 60.0, "max_steps": 80}, 4, 2),
    ],
)
def test_a_run_has_about_forty_lines(limits, steps, between):
    arguments = LoopArguments("x", **limits)
    progress = Progress(arguments, LoopState(step=steps, updates=steps, seconds=1.2), SimpleNamespace())
    progress.epoch_size = 50
    assert progress.logging_steps == between


def test_the_lines_of_a_short_run_are_the_same_when_it_is_resumed(tiny_run, tmp_path):
    def steps(directory):
        records = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
        return [(record["step"], record["loss"]) for record in records if "loss" in record]

    options = {"logging_steps": None, "max_steps": 90, "save_steps": 31, "best_metric": "none"}
    options |= {"evaluation_steps": 1000}
    tiny_run.loop(tmp_path / "whole", **options).run()
    assert [step for step, _ in steps(tmp_path / "whole")] == list(range(3, 91, 3))
    loop = tiny_run.loop(tmp_path / "parts", **options)
    tiny_run.module.signal_at(loop, 40, signal.SIGTERM)
    with pytest.raises(Interrupted):
        loop.run()
    tiny_run.loop(tmp_path / "parts", **options, resume=True).run()
    assert steps(tmp_path / "parts") == steps(tmp_path / "whole")


def test_the_end_within_the_warmup_is_told(tiny_run, tmp_path, capsys):
    tiny_run.loop(tmp_path / "short", max_steps=1, warmup_steps=2).run()
    told = "warning: the training ends after 1 update, within the warmup of 2: the learning rate never reaches"
    assert told in capsys.readouterr().err
    tiny_run.loop(tmp_path / "epoch", max_steps=None, num_train_epochs=0.2, warmup_steps=2).run()
    assert told in capsys.readouterr().err
    tiny_run.loop(tmp_path / "minutes", max_steps=None, max_minutes=1e-6, warmup_steps=2).run()
    assert told in capsys.readouterr().err
    tiny_run.loop(tmp_path / "long", max_steps=1, warmup_steps=1).run()
    assert "warning" not in capsys.readouterr().err


def test_tensorboard_gets_the_numbers(tiny_run, tmp_path):
    tiny_run.loop(tmp_path, max_steps=2, report_to="tensorboard").run()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = tmp_path.rglob("events.out.tfevents.*")
    assert file.parent == tmp_path / "tensorboard"
    events = EventAccumulator(str(file))
    events.Reload()
    expected = {"loss", "learning_rate", "tokens_per_second", "padding", "memory_gb", "mfu"}
    assert expected | {"validation_loss", "validation_perplexity"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss")] == [1, 2]


class FileTracker(GeneralTracker):
    """Stands for a service: writes what it is given into a file with the name of the project."""

    name, requires_logging_directory = "wandb", False

    def __init__(self, project):
        super().__init__()
        self.file = Path(f"{project}.jsonl")

    tracker = property(lambda self: self.file)

    def log(self, values, step=None, **_):
        self.write({"step": step} | values)

    def finish(self):
        self.write("finished")

    def write(self, record):
        with self.file.open("a") as file:
            file.write(json.dumps(record) + "\n")


def test_several_trackers_get_the_numbers(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", FileTracker)
    installed = ["tensorboard", "wandb"]
    for module in (accelerators, accelerators.Accelerator.__init__.__globals__["filter_trackers"].__globals__):
        target = module if isinstance(module, dict) else vars(module)
        monkeypatch.setitem(target, "_available_trackers", installed)
        monkeypatch.setitem(target, "get_available_trackers", lambda: installed)
    tiny_run.loop(tmp_path / "my-run", max_steps=1, report_to="tensorboard,wandb").run()
    first, *_, last = [json.loads(text) for text in Path("my-run.jsonl").read_text().splitlines()]
    assert first["step"] == 1
    assert first["loss"] > 0
    assert last == "finished"
    assert list((tmp_path / "my-run" / "tensorboard").glob("events.out.tfevents.*"))


def test_no_tracker_writes_nothing(tiny_run, tmp_path):
    tiny_run.loop(tmp_path, max_steps=1, report_to="none").run()
    assert not list(tmp_path.rglob("events.out.tfevents.*"))
