"""The command `triptych train-tokenizer`, from a checkout: `python scripts/train_tokenizer.py --help`."""

from triptych.commands.train_tokenizer import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
