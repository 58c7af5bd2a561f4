"""The console command `triptych` for tests that may run in a mere checkout: as a program, or in this process."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from accelerate.state import AcceleratorState

import triptych_command


def run_here(words: Sequence[str]) -> None:
    """Runs `triptych` with these words in this process, which has loaded torch already."""
    AcceleratorState._reset_state(True)
    with patch.object(sys, "argv", sys.argv):  # which the command replaces
        triptych_command.main(list(words))


def install(folder: Path) -> Path:
    """Writes the command into a folder, which the caller puts on the PATH; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "triptych"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m triptych_command "$@"\n')
    program.chmod(0o755)
    return folder


def search_path(folder: Path) -> str:
    """A PATH with the command in `folder`, and the programs beside this interpreter, such as accelerate."""
    return os.pathsep.join([str(install(folder)), str(Path(sys.executable).parent), os.environ["PATH"]])
