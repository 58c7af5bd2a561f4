"""The command `triptych train-summarization`, from a checkout: `python scripts/train_summarization.py --help`."""

from triptych.commands.train_summarization import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
