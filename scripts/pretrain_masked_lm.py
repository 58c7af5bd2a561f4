"""The command `triptych pretrain-masked-lm`, from a checkout: `python scripts/pretrain_masked_lm.py --help`."""

from triptych.commands.pretrain_masked_lm import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
