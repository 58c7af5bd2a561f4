"""
Trains a model that writes summaries, scores it, and writes a directory that `triptych.pipeline` loads.

    triptych train-summarization --train_file train.jsonl --validation_file validation.jsonl \\
        --test_file test.jsonl --output_dir summarizer --max_minutes 60

Files are jsonl, json, parquet, tsv or csv with the columns `text` and `summary` (`--text_column`, `--summary_column`).
docs/data.md says more. A text with more tokens than `--max_source_length` is cut, with a remark. With `--model`, a
public checkpoint (BART, T5, ...) or one of this package learns on; `--source_prefix "summarize: "` stands before each
text. The test is scored by ROUGE. docs/training/train-summarization.md says more.

The same command with `--resume` continues a run that was killed. `triptych train-translation --help` says how several
processes train.
"""

from ..training.script import train
from ..training.tasks.summarization import SummarizationTask


def main(args: list[str] | None = None) -> None:
    train(SummarizationTask, __doc__, args)
