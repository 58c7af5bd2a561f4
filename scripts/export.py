"""The command `triptych export`, from a checkout: `python scripts/export.py --help`."""

from triptych.commands.export import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
