"""`triptych finetune-question-answering`, from a checkout: `python scripts/finetune_question_answering.py --help`."""

from triptych.commands.finetune_question_answering import main
from triptych.training.command_line import run_script

if __name__ == "__main__":
    run_script(main)
