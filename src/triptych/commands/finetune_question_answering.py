"""
Trains a model that finds the answer to a question in a text, scores it as SQuAD does, and writes a directory that
`from_pretrained` and `triptych.pipeline` load.

    triptych finetune-question-answering --model google-bert/bert-base-uncased --train_file train-v2.0.json \\
        --validation_file dev-v2.0.json --test_file dev-v2.0.json --output_dir reader \\
        --lr_scheduler linear --learning_rate 3e-5 --warmup_ratio 0.1 --num_train_epochs 2

Files are those of SQuAD, version 1.1 or 2.0, or jsonl, json or parquet with the columns `question`, `context` and
`answers` ({"text": [...], "answer_start": [...]}). docs/data.md says more. A context that is too long for the model is
read in windows (`--max_length`, `--doc_stride`). An answer is a part of the context, word for word.
docs/training/finetune-question-answering.md says more.

The same command with `--resume` continues a run that was killed. `triptych train-translation --help` says how several
processes train.
"""

from ..training.script import train
from ..training.tasks.question_answering import QuestionAnsweringTask


def main(args: list[str] | None = None) -> None:
    train(QuestionAnsweringTask, __doc__, args)
