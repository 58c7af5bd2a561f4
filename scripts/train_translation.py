"""
Trains a translator, scores it, and writes a directory that `from_pretrained` and `triptych.pipeline` load.

    accelerate launch scripts/train_translation.py --train_file pairs.tsv --validation_file validation.tsv \\
        --test_file test.tsv --output_dir translator --preset transformer-base --max_minutes 60

Files are tsv, csv, jsonl, json or parquet with the columns `source` and `target`, or two plain text files with a
sentence per line (`--train_file train.en train.de`); docs/data.md says more. `--corpus en-de` is the corpus that ships
with the package, `--dataset_name` any data set of `datasets`. A tokenizer is trained unless `--tokenizer`
names one. Every field of the configuration can be given: `--hidden_size 256 --residual pre`. With `--recipe` the
preset is trained as published: section 5 of the paper, as far as no option says otherwise. The run is continued after
a kill with the same command and `--resume`. Without a GPU the CPU is used.

Several processes: on GPUs `accelerate launch --num_processes 8 ...`. Without a GPU

    accelerate launch --multi_gpu --num_processes 2 scripts/train_translation.py ...

(or `torchrun --nproc_per_node 2 scripts/train_translation.py ...`); `accelerate launch --cpu --num_processes 2`
starts one process, whatever the number. An update has the same `--max_tokens` however many processes share it, so
the result is the same.
"""

from triptych.training.command_line import run_script
from triptych.training.script import train
from triptych.training.tasks.translation import TranslationTask

if __name__ == "__main__":
    run_script(lambda: train(TranslationTask, __doc__))
