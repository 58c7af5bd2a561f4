"""Converts a public checkpoint to a Triptych checkpoint, or back to a class of transformers. The tokenizer is copied.

    triptych convert google-bert/bert-base-uncased bert       (a repository of the Hub, or a directory)
    triptych convert bert back --to hf                        (from Triptych to transformers)
    triptych convert my-decoder llama --to hf --model_type llama

Weights are read and written as safetensors, in shards of `--max_shard_size`. They keep their precision unless
`--dtype` names another. About one copy of the weights is in memory at a time. The destination appears only when it is
complete. `--overwrite` replaces a directory that this script has written, unless somebody has put other files into it.
"""

import sys
from pathlib import Path
from typing import Any

from ..conversion.directories import DESTINATIONS, WRITER, check_model_type, convert_directory
from ..conversion.loading import read_config
from ..files import check_destination
from ..tokenization import load_tokenizers, save_tokenizers
from ..training.command_line import OptionParser


def tokenizers_of(source: str, **where: str) -> list[Any]:
    """The tokenizers of a checkpoint: none, one, or one for each of two vocabularies."""
    read_config(source, **where)  # raises an error if there is no checkpoint
    try:
        return [tokenizer for tokenizer in load_tokenizers(source, **where) if tokenizer is not None]
    except FileNotFoundError:
        print(f"{source} holds no tokenizer, so the result has none", file=sys.stderr)
        return []


def main(args: list[str] | None = None) -> None:
    parser = OptionParser(description=__doc__)
    parser.add_argument("source", help="A directory, or the name of a repository.")
    parser.add_argument("destination", type=Path, help="Directory of the result; a new or an empty one.")
    parser.add_argument("--to", choices=DESTINATIONS, default="triptych", help="The library that loads the result.")
    parser.add_argument(
        "--model_type",
        help="With --to hf: the architecture of the result, such as gpt2 (default: that of the checkpoint from which "
        "the model was made, or else the first that can express the model).",
    )
    parser.add_argument("--dtype", "--torch_dtype", default="auto", help="Precision of the result, such as bfloat16.")
    parser.add_argument("--max_shard_size", default="5GB", help="Largest size of a file of weights.")
    parser.add_argument("--revision", help="Branch, tag or commit of a repository.")
    parser.add_argument("--overwrite", action="store_true", help="Replace what this script has written there before.")
    arguments = vars(parser.parse_args(args))
    if arguments["revision"] is None:
        del arguments["revision"]
    where = {name: arguments[name] for name in ("revision",) if name in arguments}
    check_model_type(arguments["to"], arguments["model_type"])
    check_destination(arguments["destination"], WRITER, arguments["source"], arguments["overwrite"])
    tokenizers = tokenizers_of(arguments["source"], **where)

    def save_extras(directory: Path) -> None:
        if tokenizers:
            save_tokenizers(directory, *tokenizers)

    model = convert_directory(**arguments, save_extras=save_extras)
    print(f"{arguments['destination']}: {type(model).__name__}, {model.num_parameters():,} parameters")
