"""Writes a trained model in the format of another program. The source stays as it is.

    triptych export translator --format ct2 --output_dir translator-ct2
    triptych export translator --format ct2 --quantization int8 --output_dir translator-int8
    triptych export translator --format hf --output_dir translator-hf     (transformers' own class, such as Marian)
    triptych export writer --format gguf --output_dir writer-gguf         (llama.cpp)
    triptych export classifier --format onnx --output_dir classifier-onnx

What a format cannot express is refused before anything is written. The output directory appears only when it is
complete. `--overwrite` replaces a directory that this command has written, unless somebody has put other files into
it.
"""

from pathlib import Path

from ..export import FORMATS, export
from ..training.command_line import OptionParser


def main(args: list[str] | None = None) -> None:
    parser = OptionParser(description=__doc__)
    parser.add_argument("source", help="The model: a directory, or the name of a repository.")
    parser.add_argument(
        "--output_dir", type=Path, required=True, help="Directory of the result; a new or an empty one."
    )
    formats = "; ".join(f"{name}: {known.says}" for name, known in FORMATS.items())
    parser.add_argument(
        "--format", choices=FORMATS, default="hf", help=f"The program that reads the result ({formats})."
    )
    parser.add_argument(
        "--model_type",
        help="The architecture of transformers through which the model goes, such as marian (default: the nearest "
        "one).",
    )
    parser.add_argument("--quantization", help="With ct2: the numbers of the weights, such as int8 or float16.")
    parser.add_argument("--revision", help="Branch, tag or commit of a repository.")
    parser.add_argument("--overwrite", action="store_true", help="Replace what this command has written there before.")
    arguments = vars(parser.parse_args(args))
    if arguments["revision"] is None:
        del arguments["revision"]
    for line in export(**arguments):
        print(f"{arguments['output_dir']}: {line}")
