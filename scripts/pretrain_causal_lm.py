"""The command `triptych pretrain-causal-lm`, from a checkout: `python scripts/pretrain_causal_lm.py --help`."""

from triptych.commands.pretrain_causal_lm import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
