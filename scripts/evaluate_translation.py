"""The command `triptych evaluate-translation`, from a checkout: `python scripts/evaluate_translation.py --help`."""

from triptych.commands.evaluate_translation import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
