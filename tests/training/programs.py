"""Starts the programs beside this file, alone or in several processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

TWO_PROCESSES = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def run_program(*command, env=None):
    """Runs a command on the CPU, with tests/ on the path of Python."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path} | (env or {})
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)


def run_jobs_in_two_processes(program, folder, jobs):
    """Runs a program that takes a file of jobs, and expects it to succeed."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = run_program(*TWO_PROCESSES, program, folder / "jobs.json")
    assert done.returncode == 0, done.stderr[-5000:]
    return done
