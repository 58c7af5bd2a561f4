"""Runs the scripts as a user does, in processes that know nothing of the tests."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
COMMANDS = Path(__file__).parents[2] / "src" / "triptych" / "commands"
# What `make` hands down to the commands that it starts; a command of a test is not one of them.
OF_MAKE = ("ARGS", "EXTRAS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PIP_ARGS", "PYTHON", "VENV")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
ENVIRONMENT |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
WORDS = {"one": "eins", "two": "zwei", "three": "drei", "red": "rot", "green": "grün", "house": "Haus", "tree": "Baum"}


def command(script, *arguments, launcher=(sys.executable,), **options):
    line = [*launcher, SCRIPTS / script, *arguments]
    for name, value in options.items():
        line += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return [str(part) for part in line]


def run(script, *arguments, **options):
    line = command(script, *arguments, **options)
    return subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT)
