"""Train a tokenizer, or one for the source and one for the target, on files or on a data set.

    python scripts/train_tokenizer.py --train_file pairs.tsv --model bpe --vocab_size 8000 --output_dir tokenizer
    python scripts/train_tokenizer.py --train_file pairs.tsv --separate --output_dir tokenizers
    python scripts/train_tokenizer.py --train_file a.txt b.txt --model wordpiece --family encoder --output_dir bert
    python scripts/train_tokenizer.py --dataset_name wikitext --dataset_config_name wikitext-103-raw-v1 \\
        --text_column text --family decoder --output_dir gpt

Pairs (tsv, csv, jsonl, parquet) have a source and a target column, trained on together unless --separate is given;
text of another kind has one column, --text_column; a plain text file has one text per line, and with --separate two of
them are source and target. docs/data.md describes the formats. The result loads with
`AutoTokenizer.from_pretrained(output_dir)`, with --separate the target's with `subfolder="target_tokenizer"`.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import datasets
from transformers import PreTrainedTokenizerBase

from triptych.data.readers import FORMATS, FileOptions, file_format
from triptych.data.sieve import told
from triptych.files import MODEL_FILE, check_destination, is_checkpoint_entry, new_directory
from triptych.tokenization import FAMILIES, MODELS, NORMALIZATIONS, save_tokenizers, train_tokenizer
from triptych.tokenization.train import in_slices
from triptych.training.arguments import option
from triptych.training.command_line import OptionParser
from triptych.training.data_options import PairOptions, several

WRITER = "train_tokenizer.py"
SAMPLE = 10_000  # texts that the summary counts tokens in


@dataclass(kw_only=True)
class Arguments(PairOptions):
    """What to train on, what to train, and where to put it."""

    output_dir: str = field(metadata={"help": "Directory of the tokenizer; a new or an empty one."})
    overwrite: bool = option(False, "Replace the tokenizer that this script wrote into output_dir.")
    train_file: list[str] | None = field(
        default=None,
        metadata=several(f"One or more files: {', '.join(FORMATS)}; may be compressed."),
    )
    text_column: str | None = option(None, "The one column to train on, where the texts are not pairs.")
    separate: bool = option(False, "Train one tokenizer for the source and one for the target.")
    model: str = option("bpe", "Model.", choices=list(MODELS))
    vocab_size: int = option(8000, "Greatest number of tokens, special ones included.")
    family: str = option("encoder-decoder", "Family whose special tokens are used.", choices=list(FAMILIES))
    normalization: str = option("none", "What is done to the text first.", choices=list(NORMALIZATIONS))
    limit_alphabet: int | None = option(None, "Keep only this many of the most frequent characters.")
    model_max_length: int | None = option(None, "Number of tokens at which truncation cuts.")

    def __post_init__(self) -> None:
        if (self.train_file is None) == (self.dataset_name is None):
            raise ValueError("give either --train_file or --dataset_name")
        if self.separate and self.one_column:
            raise ValueError(
                "--separate needs pairs: a file or data set with a source and a target column, or two plain text files"
            )

    @property
    def one_column(self) -> str | None:
        """The column of texts that are not pairs; two plain text files are pairs where --separate says so."""
        options = FileOptions(self.file_format)
        plain = self.train_file and all(file_format(name, options) == "text" for name in self.train_file)
        return self.text_column or (
            "text" if plain and not (self.separate and len(self.train_file or ()) == 2) else None
        )

    def columns(self) -> dict[str, str]:
        """Extends `PairOptions.columns`: one column, where the texts are not pairs."""
        return {"text_column": self.one_column} if self.one_column else super().columns()


def main() -> None:
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    try:
        run(OptionParser(Arguments, description=__doc__).parse_args_into_dataclasses()[0])
    except (ValueError, TypeError, OSError, datasets.exceptions.DatasetsError) as error:
        # `datasets` says no more than that there was an error, and gives the reason as its cause.
        reason = error.__cause__ if isinstance(error, datasets.exceptions.DatasetBuildError) else None
        print(f"error: {' '.join(str(reason or error).split())}", file=sys.stderr)
        sys.exit(2)


def run(arguments: Arguments) -> None:
    output_dir = Path(arguments.output_dir)
    check_output_dir(output_dir, arguments.overwrite)
    columns = read_columns(arguments)
    if arguments.separate:
        tokenizers = [train(name, [texts], arguments) for name, texts in columns.items()]
    else:
        tokenizers = [train(" + ".join(columns), list(columns.values()), arguments)]
    with new_directory(output_dir, WRITER, arguments.overwrite) as directory:
        save_tokenizers(directory, *tokenizers)
    print(f"saved in {output_dir.resolve()}")


def train(name: str, columns: list[Iterable[str]], arguments: Arguments) -> PreTrainedTokenizerBase:
    words = ("model", "vocab_size", "family", "normalization", "limit_alphabet", "model_max_length")
    try:
        tokenizer = train_tokenizer(Chained(columns), **{word: getattr(arguments, word) for word in words})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error
    print(f"{name}: {summary(tokenizer, columns)}")
    return tokenizer


@dataclass
class Chained:
    """Several columns as one; unlike `itertools.chain` it can be read twice."""

    columns: list[Iterable[str]]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(map(in_slices, self.columns))


def summary(tokenizer: PreTrainedTokenizerBase, columns: list[Iterable[str]]) -> str:
    sample = [text for texts in columns for text in islice(texts, SAMPLE) if text.strip()]
    encoded = tokenizer(sample, add_special_tokens=False)["input_ids"]
    tokens, words = sum(map(len, encoded)), sum(len(text.split()) for text in sample)
    unknown = sum(ids.count(tokenizer.unk_token_id) for ids in encoded)
    example = " ".join(max(sample[:100], key=len).split()[:8])
    return (
        f"{len(tokenizer)} tokens, {tokens / words:.2f} tokens per word, {unknown / max(tokens, 1):.2%} unknown\n"
        f"  {example}\n  {' | '.join(tokenizer.convert_ids_to_tokens(tokenizer(example)['input_ids']))}"
    )


def read_columns(arguments: Arguments) -> dict[str, Iterable[str]]:
    """Column name → its texts, of all files or of the data set's training part."""
    splits, counts = arguments.read({"train": arguments.train_file})
    if "train" not in splits:
        raise ValueError(f"{arguments.dataset_name} has no split 'train'; it has {', '.join(splits)}")
    for remark in told({"train": counts["train"]}):
        print(remark)
    return {column: splits["train"][column] for column in splits["train"].column_names}


def check_output_dir(path: Path, overwrite: bool) -> None:
    """
    Raises:
        FileExistsError: something stands there that is not to be replaced; see `check_destination`, too.
    """
    if path.is_file():
        raise FileExistsError(f"--output_dir {path} is a file; choose another name")
    held = sorted(path.iterdir()) if path.is_dir() else []
    names = [entry.name + "/" * entry.is_dir() for entry in held]
    others = [name for name in names if not is_checkpoint_entry(name) or MODEL_FILE.fullmatch(name)]
    if others:
        raise FileExistsError(f"--output_dir {path} holds something else ({', '.join(others[:3])}); choose another")
    if held and not overwrite:
        raise FileExistsError(f"--output_dir {path} holds a tokenizer already; choose another, or give --overwrite")
    check_destination(path, WRITER, overwrite=overwrite)


if __name__ == "__main__":
    main()
