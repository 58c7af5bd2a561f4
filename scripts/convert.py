"""Converts a public checkpoint into one of ours, or one of ours into transformers' own, tokenizer included.

    python scripts/convert.py google-bert/bert-base-uncased bert       (a repository of the Hub, or a directory)
    python scripts/convert.py bert back --to hf                        (ours into theirs)
    python scripts/convert.py my-decoder llama --to hf --model_type llama

Weights are read and written as safetensors, in shards of `--max_shard_size`, and keep their precision unless `--dtype`
names another. There is about one copy of them in memory. The destination appears when it is complete, or not at all.
`--overwrite` replaces a directory that this script made, if nothing else has been put into it since.
"""

from pathlib import Path
from typing import Any

from triptych.conversion.directories import DESTINATIONS, WRITER, check_model_type, convert_directory
from triptych.conversion.loading import read_config
from triptych.files import check_destination
from triptych.tokenization import load_tokenizers, save_tokenizers
from triptych.training.command_line import OptionParser, run_script


def tokenizers_of(source: str, **where: str) -> list[Any]:
    """The tokenizer of a checkpoint, and that of its second vocabulary, as far as there are any."""
    read_config(source, **where)  # complains where there is nothing at all
    try:
        return [tokenizer for tokenizer in load_tokenizers(source, **where) if tokenizer is not None]
    except FileNotFoundError:
        print(f"{source} holds no tokenizer: the result has none")
        return []


def main() -> None:
    parser = OptionParser(description=__doc__)
    parser.add_argument("source", help="a directory, or the name of a repository")
    parser.add_argument("destination", type=Path, help="directory of the result; a new or an empty one")
    parser.add_argument("--to", choices=DESTINATIONS, default="triptych", help="whose the result is")
    parser.add_argument(
        "--model_type",
        help="with --to hf: which architecture, such as gpt2; by default that of the "
        "checkpoint the model came from, else the first that can express it",
    )
    parser.add_argument("--dtype", "--torch_dtype", default="auto", help="precision of the result, such as bfloat16")
    parser.add_argument("--max_shard_size", default="5GB", help="largest size of a file of weights")
    parser.add_argument("--revision", help="branch, tag or commit of a repository")
    parser.add_argument("--overwrite", action="store_true", help="replace what this script wrote there before")
    arguments = vars(parser.parse_args())
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


if __name__ == "__main__":
    run_script(main)
