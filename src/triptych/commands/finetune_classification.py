"""
Trains a model that classifies texts or pairs of texts, scores it, and writes a directory that `from_pretrained` and
`pipeline("text-classification")` load.

    triptych finetune-classification --model google-bert/bert-base-uncased --train_file train.tsv \\
        --validation_file validation.tsv --test_file test.tsv --output_dir classifier \\
        --lr_scheduler linear --learning_rate 3e-5 --warmup_ratio 0.1 --num_train_epochs 3

Files are tsv, csv, jsonl, json or parquet with the columns `text`, `label`, and `text_pair` where texts are pairs. A
label is a name or a whole number (one class), a list of these (several labels), or a number such as 2.5 (regression).
docs/data.md says more. `--model` starts from any public encoder, decoder or encoder-decoder that Triptych can convert,
and `--preset` from nothing. docs/training/finetune-classification.md says more.

docs/training/checkpoints.md says how several processes share a run. The same command with `--resume` continues a run
that was killed.
"""

from ..training.script import train
from ..training.tasks.classification import ClassificationTask


def main(args: list[str] | None = None) -> None:
    train(ClassificationTask, __doc__, args)
