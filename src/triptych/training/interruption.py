"""Ctrl-C and SIGTERM: the run finishes its update, saves a checkpoint, and says how it is continued."""

import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from accelerate import Accelerator

from .launchers import is_launched

HANDLED = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """
    A run was asked to stop, and its checkpoint is saved. It is a `KeyboardInterrupt`, because that is what a caller of
    the loop, such as a notebook, expects after Ctrl-C.

    Attributes:
        status: the exit status that a shell gives to a program that the signal ends: 130 or 143.

    Args:
        number: the signal; None: that of another process, which counts as SIGTERM.
        checkpoint: where the run can go on.
    """

    def __init__(self, number: int | None, checkpoint: Path) -> None:
        number = number or signal.SIGTERM  # another process got the signal
        super().__init__(f"stopped by {signal.Signals(number).name}; everything is in {checkpoint}")
        self.status = 128 + number


class Interruption:
    """
    Notes the first SIGINT or SIGTERM. The next one does what it did before: a second Ctrl-C ends the process at once.

    Where there are several processes, `wanted` tells all of them the same at the same update, whichever of them got
    the signal: they add up their notes once per update. The sum of an update is looked at one update later, when it
    has long arrived, so that no device is waited for.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.number: int | None = None
        self.underway: tuple[torch.Tensor, Any] | None = None  # the sum of the last update, and when it has arrived

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Handles the signals inside; only the main thread of a program can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {number: signal.getsignal(number) or signal.SIG_DFL for number in HANDLED}

        def restore() -> None:
            for number, handler in former.items():
                signal.signal(number, handler)

        def note(number: int, frame: FrameType | None) -> None:
            self.number = number
            restore()
            if self.accelerator.is_main_process:
                # A handler may not use Python's buffered files, because it may have interrupted a write to them.
                os.write(2, b"\nstopping: this update ends, and a checkpoint is saved; again: stop at once\n")

        for number in HANDLED:
            signal.signal(number, note)
        try:
            yield
        finally:
            restore()

    def wanted(self, wait: bool = False) -> bool:
        """Says whether the run has to stop now; every process calls it once after each update.

        Args:
            wait: count the signals up to now, and wait for the answer.
        """
        if self.accelerator.num_processes == 1:
            return self.number is not None
        before, self.underway = self.underway, self.sum()
        asked = self.underway if wait else before
        if asked is None:
            return False
        total, arrived = asked
        if arrived is not None:
            arrived.synchronize()
        return bool(total.item())

    def sum(self) -> tuple[torch.Tensor, Any]:
        """Begins to add up over the processes how many of them were signalled."""
        device = self.accelerator.device
        total = self.accelerator.reduce(torch.tensor(float(self.number is not None), device=device), "sum")
        if device.type != "cuda":
            return total, None
        host = torch.empty((), pin_memory=True).copy_(total, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return host, arrived


def continuing_command() -> str:
    """Returns the command that continues the run of this process, as one types it in the same directory."""
    words = own_command()
    words = [word for word in words if word not in ("--resume", "--overwrite")]
    return shlex.join([*words, "--resume"])


def own_command() -> list[str]:
    """Returns the words by which this program was started: with its launcher, without the paths of interpreters."""
    words, options = list(sys.orig_argv), sys.argv[1:]
    if is_launched():
        try:
            launcher = psutil.Process(os.getppid()).cmdline()
        except psutil.Error:
            launcher = []
        if launcher[len(launcher) - len(options) :] == options:  # its command holds ours
            words = launcher
    return short(words)


def short(words: list[str]) -> list[str]:
    """Returns a command without the interpreter, where its program can be called by its name alone."""
    program = words[1] if len(words) > 1 else ""
    name = os.path.basename(program)
    found = shutil.which(name) if name and program != name else None
    if found is not None and os.path.realpath(found) == os.path.realpath(program):
        return [name, *words[2:]]
    interpreter = os.path.basename(words[0])
    here = shutil.which(interpreter)
    is_on_path = here is not None and os.path.realpath(here) == os.path.realpath(words[0])
    return [interpreter if is_on_path else words[0], *words[1:]]
