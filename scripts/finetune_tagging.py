"""The command `triptych finetune-tagging`, from a checkout: `python scripts/finetune_tagging.py --help`."""

from triptych.commands.finetune_tagging import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
