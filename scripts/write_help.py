"""
Writes the help page of each command, which `triptych COMMAND --help` shows at once. Run it when an option has changed.

    python scripts/write_help.py

Only the modules of a command know its options, and they import torch, which takes seconds. So the pages are files of
the package. A test compares them with the options.
"""

import io
import os
import sys
from contextlib import redirect_stdout, suppress
from importlib import import_module
from pathlib import Path

from triptych.files import write_text
from triptych.training.command_line import OptionParser, run_script
from triptych_command import COMMANDS, WIDTH, module_of

PAGES = Path(__file__).parents[1] / "src" / "triptych" / "commands" / "help"


def page(name: str) -> str:
    """Returns what a command says when its options are `--help`, in lines that fit `WIDTH` characters."""
    text, columns, words = io.StringIO(), os.environ.get("COLUMNS"), sys.argv
    os.environ["COLUMNS"], sys.argv = str(WIDTH), [f"triptych {name}", "--help"]
    try:
        with redirect_stdout(text), suppress(SystemExit):
            import_module(module_of(name)).main()
    finally:
        sys.argv = words
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return text.getvalue()


def main() -> None:
    OptionParser(description=__doc__).parse_args()
    PAGES.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        write_text(PAGES / f"{name}.txt", page(name))
    for path in PAGES.glob("*.txt"):
        if path.stem not in COMMANDS:
            path.unlink()  # the page of a command that is no more
    print(f"{len(COMMANDS)} pages in {os.path.relpath(PAGES)}")


if __name__ == "__main__":
    run_script(main)
