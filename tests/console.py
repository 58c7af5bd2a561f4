"""The console command `triptych` as an installation makes it, for tests that may run in a mere checkout."""

import os
import sys
from pathlib import Path


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
