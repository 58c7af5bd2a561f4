"""
Trains a model that tags the words of sentences (parts of speech, named entities), scores it, and writes a directory
that `from_pretrained` and `pipeline("token-classification")` load.

    triptych finetune-tagging --model google-bert/bert-base-cased --train_file train.conllu \\
        --validation_file dev.conllu --test_file test.conllu --tag_column upos --output_dir tagger \\
        --lr_scheduler linear --learning_rate 3e-5 --warmup_ratio 0.1 --num_train_epochs 3

Files are CoNLL-U (.conllu); files in the style of CoNLL 2003 (.conll, or --file_format conll); or jsonl, json or
parquet with the columns `tokens` and `tags`, which are lists. docs/data.md says more. The tag of a word is learnt at
its first token. Tags such as B-PER are scored by entities. docs/training/finetune-tagging.md says more.

docs/training/checkpoints.md says how several processes share a run. The same command with `--resume` continues a run
that was killed.
"""

from ..training.script import train
from ..training.tasks.tagging import TaggingTask


def main(args: list[str] | None = None) -> None:
    train(TaggingTask, __doc__, args)
