"""The command `triptych translate`, from a checkout: `python scripts/translate.py --help`."""

from triptych.commands.translate import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
