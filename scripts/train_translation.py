"""The command `triptych train-translation`, from a checkout: `python scripts/train_translation.py --help`."""

from triptych.commands.train_translation import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
