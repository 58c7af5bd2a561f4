"""Converting a whole checkpoint from one directory into another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from .. import modeling
from ..files import check_destination, new_directory
from .convert import receive, send
from .loading import class_named, load, wanted_config
from .options import RESULT, Options

DESTINATIONS = ("triptych", "hf")
WRITER = "the conversion"


def check_model_type(to: str, model_type: str | None) -> None:
    """Raises ValueError if `model_type` names an architecture of transformers, but the result is a Triptych model."""
    if model_type is not None and to != "hf":
        raise ValueError(
            f"model_type={model_type!r} names an architecture of transformers, but a Triptych model is written; "
            "leave model_type out, or give to='hf' (--to hf)"
        )


def convert_directory(
    source: str | Path,
    destination: str | Path,
    to: str = "triptych",
    model_type: str | None = None,
    max_shard_size: int | str = "5GB",
    overwrite: bool = False,
    save_extras: Callable[[Path], None] = lambda directory: None,
    **options: Any,
) -> PreTrainedModel:
    """Converts a checkpoint; `destination` appears complete, or not at all.

    A directory that is replaced stays until the new one is complete, so a kill at any moment leaves one of the two. If
    the kill leaves the old one under another name (`.NAME.triptych-old`), the next call gives it its name back. There
    is about one copy of the weights in memory, because each tensor of the source is freed when it has been converted.

    Args:
        source: a directory, or the name of a repository.
        to: "triptych", for a checkpoint of transformers; or "hf", for a checkpoint of Triptych.
        model_type: with "hf", the architecture to write; see `to_hf`.
        max_shard_size: the greatest size of the safetensors files, as in `save_pretrained`.
        overwrite: replace `destination`, if an earlier call made it and nothing else has been put into it since. (Its
            files are recorded in `.triptych-files.json`.)
        save_extras: writes into a directory what belongs beside the weights, such as the tokenizer.
        options: the options of `from_hf`, except for those of the resulting model.

    Returns:
        The model that was written.

    Raises:
        ValueError: `to` is unknown; an option has no meaning for files; `destination` is the source, contains it or
            lies in it; a file of the source is damaged; `model_type` is given without `to="hf"`; see also `from_hf`
            and `to_hf`.
        FileExistsError: `destination` holds something, and `overwrite` is not set; or it may not be replaced, see
            `check_destination`. This is checked before anything is read.
    """
    if to not in DESTINATIONS:
        raise ValueError(f"to={to!r} is unknown; choose from {', '.join(DESTINATIONS)}")
    check_model_type(to, model_type)
    sort = Options.sort(options)
    sort.refuse(RESULT | {"output_loading_info"}, "of a conversion from files to files; leave it out")
    check_destination(destination, WRITER, source, overwrite)
    model = send(load_ours(source, sort), model_type) if to == "hf" else receive(load(source, sort)[0])
    with new_directory(destination, WRITER, overwrite) as directory:
        save_extras(directory)
        model.save_pretrained(directory, max_shard_size=max_shard_size)
    return model


def load_ours(source: str | Path, options: Options) -> PreTrainedModel:
    """The Triptych model that a directory names.

    Raises:
        ValueError: the directory holds another model, or weights are missing.
    """
    config = wanted_config(source, options)
    model_class = class_named(modeling, (config.architectures or [""])[0])
    if model_class is None:
        raise ValueError(
            f"{source} holds no Triptych model, but {config.model_type}, {config.architectures}; to='hf' converts "
            "from Triptych, to='triptych' the other way"
        )
    model, report = model_class.from_pretrained(
        source, config=config, **options.files, **options.weights, output_loading_info=True
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{source} lacks weights of {model_class.__name__}: {', '.join(missing)}")
    loaded: PreTrainedModel = model
    return loaded
