"""Whole checkpoints from one directory into another."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from .. import modeling
from .convert import load, receive, send, wanted_config
from .options import RESULT, Options

DESTINATIONS = ("triptych", "hf")


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
    """Converts a checkpoint; `destination` appears when it is complete, or not at all.

    There is about one copy of the weights in memory, as each tensor of the source is let go when it has been read.

    Args:
        source: a directory, or the name of a repository.
        to: "triptych" (from transformers' own classes), or "hf" (back).
        model_type: with "hf", which architecture to write; see `to_hf`.
        max_shard_size: of the safetensors files, as in `save_pretrained`.
        overwrite: replace what `destination` holds.
        save_extras: writes into a directory what belongs beside the weights, such as the tokenizer.
        options: of `from_hf`, but for those that say where the result is and with which kernel it computes.

    Returns:
        The model that was written.

    Raises:
        ValueError: see `from_hf` and `to_hf`; or `to` is unknown, or an option has no meaning for files.
        FileExistsError: `destination` holds something, and `overwrite` is not set.
    """
    if to not in DESTINATIONS:
        raise ValueError(f"to={to!r} is unknown; choose from {', '.join(DESTINATIONS)}")
    sort = Options.sort(options)
    sort.refuse(RESULT | {"output_loading_info"}, "of a conversion from files to files; leave it out")
    destination = Path(destination)
    if destination.exists() and not overwrite and (not destination.is_dir() or any(destination.iterdir())):
        raise FileExistsError(f"{destination} exists; choose another directory, or allow to overwrite it")
    if Path(source).exists() and destination.exists() and os.path.samefile(source, destination):
        raise ValueError(f"{destination} is the source; choose another directory")
    model = send(load_ours(source, sort), model_type) if to == "hf" else receive(load(source, sort)[0])
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent) as temporary:
        complete = Path(temporary, "complete")
        complete.mkdir()
        save_extras(complete)
        model.save_pretrained(complete, max_shard_size=max_shard_size)
        if destination.exists():
            shutil.rmtree(destination) if destination.is_dir() else destination.unlink()
        os.rename(complete, destination)
    return model


def load_ours(source: str | Path, options: Options) -> PreTrainedModel:
    """The Triptych model that a directory names.

    Raises:
        ValueError: it holds another model, or lacks weights.
    """
    config = wanted_config(source, options)
    our_class = getattr(modeling, (config.architectures or [""])[0], None)
    if our_class is None:
        raise ValueError(
            f"{source} holds no Triptych model, but {config.model_type}, {config.architectures}; to='hf' converts "
            "from Triptych, to='triptych' the other way"
        )
    model, report = our_class.from_pretrained(
        source, config=config, **options.files, **options.weights, output_loading_info=True
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{source} lacks weights of {our_class.__name__}: {', '.join(missing)}")
    loaded: PreTrainedModel = model
    return loaded
