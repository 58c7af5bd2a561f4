"""
Trains a language model that continues texts (GPT's), scores it, and writes a directory that `from_pretrained` and
`transformers.pipeline("text-generation")` load.

    triptych pretrain-causal-lm --train_file train.txt --validation_file validation.txt \\
        --test_file test.txt --output_dir gpt --max_minutes 60

Plain text files have a document on each line, or between blank lines (`--documents blank_lines`). tsv, csv, jsonl,
json and parquet files have the column `text`. `--dataset_name` names any data set of `datasets`. Several documents
share a row of `--block_size` tokens, without seeing each other, unless `--one_document_per_row` is given. A byte-level
BPE is trained unless `--tokenizer` names a tokenizer. `--model` continues from a checkpoint, such as GPT-2, with its
tokenizer. With `--streaming` the training data are read as they are needed. docs/training/pretrain-causal-lm.md says
more.
"""

from ..training.script import train
from ..training.tasks.causal_lm import CausalLMTask


def main(args: list[str] | None = None) -> None:
    train(CausalLMTask, __doc__, args)
