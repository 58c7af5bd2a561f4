"""The command `triptych zoo`, from a checkout: `python scripts/zoo.py --help`."""

from triptych.commands.zoo import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
