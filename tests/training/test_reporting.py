"""Where the numbers of a run are seen: the terminal, and a tracker."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

OPTIONS = "--max_steps 6 --warmup_steps 4 --logging_steps 2 --report_to none --cpu_threads 1 --cpu true"


def in_a_terminal(*options) -> str:
    """What a person sees of a run of tiny_run.py."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # 24 lines of 100 columns
    command = [sys.executable, Path(__file__).with_name("tiny_run.py"), *OPTIONS.split(), *map(str, options)]
    process = subprocess.Popen(command, stdout=its, stderr=its)
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
    assert process.wait() == 0
    return seen.decode()


@pytest.mark.slow
def test_a_terminal_has_a_bar_unless_it_is_not_wanted(tmp_path):
    shown = in_a_terminal("--output_dir", tmp_path / "first")
    assert re.search(r"\d% \|.*\| step \d", shown)
    hidden = in_a_terminal("--output_dir", tmp_path / "second", "--progress_bar", "false")
    assert not re.search(r"\d% \|.*\| step \d", hidden)
    assert re.search(r"^step 6 \| ", hidden, re.MULTILINE)


def test_tensorboard_gets_the_numbers(tiny_run, tmp_path):
    tiny_run.loop(tmp_path, max_steps=2, report_to="tensorboard").run()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = tmp_path.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file))
    events.Reload()
    assert {"loss", "learning_rate", "validation_loss", "validation_perplexity"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss")] == [1, 2]


def test_no_tracker_writes_nothing(tiny_run, tmp_path):
    tiny_run.loop(tmp_path, max_steps=1, report_to="none").run()
    assert not list(tmp_path.rglob("events.out.tfevents.*"))
