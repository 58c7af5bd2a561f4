"""The command `triptych finetune-classification`, from a checkout: see its `--help`."""

from triptych.commands.finetune_classification import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
