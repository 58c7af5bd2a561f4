"""Trains a tokenizer, or one for the source and one for the target, on files or on a data set.

    triptych train-tokenizer --train_file pairs.tsv --model bpe --vocab_size 8000 --output_dir tokenizer
    triptych train-tokenizer --train_file pairs.tsv --separate --output_dir tokenizers
    triptych train-tokenizer --train_file a.txt b.txt --model wordpiece --family encoder --output_dir bert
    triptych train-tokenizer --dataset_name wikitext --dataset_config_name wikitext-103-raw-v1 \\
        --text_column text --family decoder --output_dir gpt

Files of pairs (tsv, csv, jsonl, parquet) have a source and a target column. One tokenizer is trained on both, unless
--separate is given. For other texts, --text_column names the only column. A plain text file has one text per line.
With --separate, two such files are source and target. docs/data.md describes the formats.

`AutoTokenizer.from_pretrained(output_dir)` loads the result. With --separate, this is the tokenizer of the source, and
`subfolder="target_tokenizer"` loads that of the target.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import datasets
from transformers import PreTrainedTokenizerBase

from ..data.formats.kinds import Column
from ..data.readers import FORMATS, FileOptions, file_format
from ..data.sieve import told
from ..files import MODEL_FILE, check_destination, is_checkpoint_entry, new_directory
from ..tokenization import FAMILIES, MODELS, NORMALIZATIONS, save_tokenizers, train_tokenizer
from ..tokenization.train import in_slices
from ..training.arguments import option
from ..training.command_line import OptionParser
from ..training.data_options import PairOptions, several

WRITER = "train_tokenizer.py"
SAMPLE = 10_000  # the number of texts whose tokens the summary counts


@dataclass(kw_only=True)
class Arguments(PairOptions):
    """The training texts, the kind of tokenizer, and its directory."""

    output_dir: str = field(metadata={"help": "Directory of the tokenizer; a new or an empty one."})
    overwrite: bool = option(False, "Replace the tokenizer that this script wrote into output_dir.")
    train_file: list[str] | None = field(
        default=None,
        metadata=several(f"One or more files: {', '.join(FORMATS)}; may be compressed."),
    )
    text_column: str | None = option(None, "The column to train on, if the texts are not pairs.")
    separate: bool = option(False, "Train one tokenizer for the source and one for the target.")
    model: str = option("bpe", "Kind of tokenizer.", choices=list(MODELS))
    vocab_size: int = option(8000, "Greatest number of tokens, including special tokens.")
    family: str = option("encoder-decoder", "Family whose special tokens are used.", choices=list(FAMILIES))
    normalization: str = option("none", "Normalization of the text before it is split.", choices=list(NORMALIZATIONS))
    limit_alphabet: int | None = option(None, "Number of characters that are kept, the most frequent ones.")
    model_max_length: int | None = option(None, "Number of tokens to which truncation shortens a text.")

    def __post_init__(self) -> None:
        if (self.train_file is None) == (self.dataset_name is None):
            raise ValueError("give either --train_file or --dataset_name")
        if self.separate and self.one_column:
            raise ValueError(
                "--separate needs pairs: a file or data set with a source and a target column, or two plain text files"
            )

    @property
    def one_column(self) -> str | None:
        """The column of texts that are not pairs; None for pairs. Two plain text files with --separate are pairs."""
        options = FileOptions(self.file_format)
        plain = self.train_file and all(file_format(name, options) == "text" for name in self.train_file)
        return self.text_column or (
            "text" if plain and not (self.separate and len(self.train_file or ()) == 2) else None
        )

    def columns(self) -> dict[str, Column | str]:
        """Extends `PairOptions.columns`: texts that are not pairs have one column."""
        return {"text_column": self.one_column} if self.one_column else super().columns()


def main(args: list[str] | None = None) -> None:
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    try:
        run(OptionParser(Arguments, description=__doc__).parse_args_into_dataclasses(args)[0])
    except (TypeError, datasets.exceptions.DatasetsError) as error:
        # The message of `datasets` only says that there was an error. Its cause has the reason.
        reason = error.__cause__ if isinstance(error, datasets.exceptions.DatasetBuildError) else None
        raise ValueError(str(reason or error)) from error


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
    """Several columns as one. In contrast to `itertools.chain`, it can be read several times."""

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
    """The name of each column → its texts, from all files or from the training part of the data set."""
    splits, counts = arguments.read({"train": arguments.train_file})
    if "train" not in splits:
        raise ValueError(f"{arguments.dataset_name} has no split 'train'; it has {', '.join(splits)}")
    for remark in told({"train": counts["train"]}):
        print(remark, file=sys.stderr)
    return {column: splits["train"][column] for column in splits["train"].column_names}


def check_output_dir(path: Path, overwrite: bool) -> None:
    """Checks that the tokenizer may be written to this directory; see also `check_destination`.

    Raises:
        FileExistsError: the path is a file, or the directory holds something that is not to be replaced.
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
