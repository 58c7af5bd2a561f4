"""`export`: a model and its tokenizer go into a new directory, in the format of another program.

A format is a module of this package with two functions. `check` refuses, by name, what the format cannot express,
before anything is written; `write` writes the files into an empty directory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..conversion.convert import receive
from ..conversion.directories import load_ours
from ..conversion.loading import load, read_config
from ..conversion.options import Options
from ..files import check_destination, new_directory
from ..tokenization import load_tokenizers

WRITER = "the export"


@dataclass(frozen=True)
class Exported:
    """What is exported.

    Args:
        model: the Triptych model.
        tokenizers: that of the model, or one for the source and one for the target; none if it has none.
        name: what the user calls the model.
        model_type: the architecture of transformers that the user asks for; None: what `to_hf` chooses.
        quantization: the numbers of the weights, in the words of the format; None: those of the model.
    """

    model: PreTrainedModel
    tokenizers: Sequence[PreTrainedTokenizerBase]
    name: str = "model"
    model_type: str | None = None
    quantization: str | None = None


class Writer(Protocol):
    """A module of a format."""

    QUANTIZATIONS: tuple[str, ...]

    def check(self, exported: Exported) -> None:
        """Raises ValueError if the format cannot express the model or its tokenizer; the message names what."""

    def write(self, exported: Exported, directory: Path) -> list[str]:
        """Writes the files. Returns lines for the user."""


@dataclass(frozen=True)
class Format:
    """Where the writer of a format is, and the libraries that it needs besides those of the package."""

    module: str
    libraries: tuple[str, ...] = ()
    says: str = ""


FORMATS = {
    "hf": Format(".native", (), "transformers' own class, for all programs that read its directories"),
    "ct2": Format(".ctranslate2_model", ("ctranslate2",), "CTranslate2"),
    "onnx": Format(".onnx_graphs", ("onnx", "onnxscript"), "ONNX Runtime"),
    "gguf": Format(".gguf_file", ("gguf",), "llama.cpp and the programs that are made of it"),
}


def writer_of(name: str) -> Any:
    """The writer of a format.

    Raises:
        ValueError: there is no such format, or a library that it needs is not installed.
    """
    if name not in FORMATS:
        raise ValueError(f"format={name!r} is unknown; choose from {', '.join(FORMATS)}")
    if absent := [library for library in FORMATS[name].libraries if find_spec(library) is None]:
        raise ValueError(f"the format {name} needs {absent[0]}; pip install {' '.join(FORMATS[name].libraries)}")
    return import_module(FORMATS[name].module, __package__)


def read(source: str | Path, **where: str) -> tuple[PreTrainedModel, list[PreTrainedTokenizerBase]]:
    """The model and the tokenizers of a checkpoint of this package, or of a public one, which is converted.

    Args:
        where: options that say where the files are, such as `revision`.
    """
    options = Options.sort(dict(where))
    is_ours = read_config(source, **where).model_type.startswith("triptych")
    model = load_ours(source, options) if is_ours else receive(load(source, options)[0])
    try:
        found = load_tokenizers(source, **where)
    except FileNotFoundError:
        found = (None, None)
    return model.eval(), [tokenizer for tokenizer in found if tokenizer is not None]


def export(
    source: str | Path,
    output_dir: str | Path,
    format: str = "hf",
    model_type: str | None = None,
    quantization: str | None = None,
    overwrite: bool = False,
    **where: str,
) -> list[str]:
    """Writes a checkpoint in the format of another program; `output_dir` appears complete, or not at all.

    Args:
        source: a directory, or the name of a repository.
        output_dir: a new or an empty directory.
        format: a key of `FORMATS`.
        model_type: the architecture of transformers through which the model goes; see `to_hf`.
        quantization: the numbers in which the format keeps the weights, such as int8.
        overwrite: replace `output_dir`, if an earlier call made it and nothing else has been put into it since.
        where: options that say where the files are, such as `revision`.

    Returns:
        Lines for the user.

    Raises:
        ValueError: the format is unknown, needs a library, or cannot express the model or its tokenizer; nothing has
            been written then.
        FileExistsError: `output_dir` holds something; see `check_destination`.
    """
    writer = writer_of(format)
    if quantization is not None and quantization not in writer.QUANTIZATIONS:
        choices = ", ".join(writer.QUANTIZATIONS) or "nothing else than the numbers of the model"
        raise ValueError(f"quantization={quantization!r} is unknown to the format {format}, which has {choices}")
    check_destination(output_dir, WRITER, source, overwrite)
    exported = Exported(*read(source, **where), Path(source).name, model_type, quantization)
    writer.check(exported)
    with new_directory(output_dir, WRITER, overwrite) as directory:
        lines: list[str] = writer.write(exported, directory)
    return lines
