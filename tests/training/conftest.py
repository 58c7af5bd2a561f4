import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from . import tiny_run as program
from .programs import run_program

OPTIONS = {"max_steps": 6, "warmup_steps": 4, "logging_steps": 1, "report_to": "none", "cpu_threads": 1, "cpu": True}


class TinyRun:
    """Runs of tiny_run.py: in this process, or as a program of its own."""

    module = program

    def loop(self, output_dir, dropout=0.0, rows=16, extras=None, **options):
        AcceleratorState._reset_state(True)  # one process has one, but a test may want another precision
        arguments = self.module.LoopArguments(output_dir=str(output_dir), **(OPTIONS | options))
        return self.module.make_loop(arguments, dropout, rows, **(extras or {}))

    def program(self, output_dir, *launcher, env=None, **options):
        options = {"output_dir": output_dir, **OPTIONS, **options}
        command = [*(launcher or [sys.executable]), program.__file__]
        command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return run_program(*command, env=env)

    @staticmethod
    def weights(directory):
        """The weights that a directory holds: name → tensor."""
        return load_file(directory / "model.safetensors")

    @staticmethod
    def metrics(directory, name="loss"):
        """Step → what metrics.jsonl says of a metric."""
        lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        return {line["step"]: line[name] for line in lines if name in line}

    @staticmethod
    def files(directory):
        """Path → content of every file in a directory."""
        return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}

    @staticmethod
    def assert_equal(first, second):
        """Two mappings of tensors are equal, bit for bit."""
        assert first.keys() == second.keys()
        for name in first:
            assert torch.equal(first[name], second[name]), name


@pytest.fixture(scope="session")
def tiny_run():
    return TinyRun()


@pytest.fixture
def train_file(tmp_path):
    """Eight pairs: two words, and the same in the other order and in capitals."""
    rows = [f"{a} {b}\t{b.upper()} {a.upper()}" for a in ("one", "two", "three", "four") for b in ("red", "blue")]
    path = tmp_path / "train.tsv"
    path.write_text("source\ttarget\n" + "\n".join(rows) + "\n")
    return path
