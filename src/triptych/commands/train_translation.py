"""
Trains a translation model, scores it, and writes a directory that `from_pretrained` and `triptych.pipeline` load.

    triptych train-translation --train_file pairs.tsv --validation_file validation.tsv \\
        --test_file test.tsv --output_dir translator --preset transformer-base --max_minutes 60

Files are tsv, csv, jsonl, json or parquet with the columns `source` and `target`, or two plain text files with one
sentence per line (`--train_file train.en train.de`). docs/data.md says more. `--corpus en-de` is the corpus that ships
with the package. `--dataset_name` names any data set of `datasets`. A tokenizer is trained unless `--tokenizer` names
one. Every field of the configuration is an option: `--hidden_size 256 --residual pre`. With `--recipe` the preset is
trained as it was published (section 5 of the paper), except where an option says otherwise. The same command with
`--resume` continues a run that was killed. If there is no GPU, the CPU is used.

Several processes on GPUs: `accelerate launch --num_processes 8 ...`. Several processes without a GPU:

    accelerate launch --multi_gpu --num_processes 2 -m triptych train-translation ...

or `torchrun --nproc_per_node 2 -m triptych train-translation ...`. (`accelerate launch --cpu --num_processes 2` starts
only one process.) An update has the same `--max_tokens` for any number of processes, so the result is the same.
"""

from ..training.script import train
from ..training.tasks.translation import TranslationTask


def main(args: list[str] | None = None) -> None:
    train(TranslationTask, __doc__, args)
