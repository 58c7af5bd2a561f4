"""The command `triptych convert`, from a checkout: `python scripts/convert.py --help`."""

from triptych.commands.convert import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
