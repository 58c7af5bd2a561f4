"""
Trains an encoder to fill in masked words (BERT's), scores it, and writes a directory that `from_pretrained` and
`transformers.pipeline("fill-mask")` load.

    triptych pretrain-masked-lm --train_file train.txt --validation_file validation.txt \\
        --test_file test.txt --output_dir bert --max_minutes 60

Plain text files have a document on each line, or between blank lines (`--documents blank_lines`). tsv, csv, jsonl,
json and parquet files have the column `text`. `--dataset_name` names any data set of `datasets`. `--masking` hides
single tokens, whole words, or spans of words, anew in each epoch. With `--next_sentence` the model also learns whether
a segment follows another one. A WordPiece tokenizer is trained unless `--tokenizer` names one. `--model` continues
from a checkpoint, such as BERT or RoBERTa, with its tokenizer. docs/training/pretrain-masked-lm.md says more.
"""

from ..training.script import train
from ..training.tasks.masked_lm import MaskedLMTask


def main(args: list[str] | None = None) -> None:
    train(MaskedLMTask, __doc__, args)
