import os
import subprocess
import sys

import pytest
from accelerate.state import AcceleratorState

from . import tiny_run as program

OPTIONS = {"max_steps": 6, "warmup_steps": 4, "logging_steps": 1, "report_to": "none", "cpu_threads": 1, "cpu": True}


class TinyRun:
    """Runs of tiny_run.py: in this process, or as a program of its own."""

    module = program

    def loop(self, output_dir, dropout=0.0, rows=16, extras=None, **options):
        AcceleratorState._reset_state(True)  # one process has one, but a test may want another precision
        arguments = self.module.LoopArguments(output_dir=str(output_dir), **(OPTIONS | options))
        return self.module.make_loop(arguments, dropout, rows, **(extras or {}))

    def program(self, output_dir, *launcher, **options):
        options = {"output_dir": output_dir, **OPTIONS, **options}
        command = [*(launcher or [sys.executable]), program.__file__]
        command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})


@pytest.fixture(scope="session")
def tiny_run():
    return TinyRun()
