"""Whole checkpoints from one directory into another."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from .. import modeling
from .convert import load, read_config, receive, send

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
        options: of `from_pretrained`: `dtype`, `revision`, `token`, …

    Returns:
        The model that was written.

    Raises:
        ValueError: see `from_hf` and `to_hf`; or `to` is unknown.
        FileExistsError: `destination` holds something, and `overwrite` is not set.
    """
    if to not in DESTINATIONS:
        raise ValueError(f"to={to!r} is unknown; choose from {', '.join(DESTINATIONS)}")
    destination = Path(destination)
    if destination.exists() and not overwrite and (not destination.is_dir() or any(destination.iterdir())):
        raise FileExistsError(f"{destination} exists; choose another directory, or allow to overwrite it")
    if Path(source).exists() and destination.exists() and os.path.samefile(source, destination):
        raise ValueError(f"{destination} is the source; choose another directory")
    model = send(load_ours(source, **options), model_type) if to == "hf" else receive(load(source, **options))
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


def load_ours(source: str | Path, **options: Any) -> PreTrainedModel:
    """The Triptych model that a directory names.

    Raises:
        ValueError: it holds another model.
    """
    config = read_config(source, **options)
    our_class = getattr(modeling, (config.architectures or [""])[0], None)
    if our_class is None:
        raise ValueError(
            f"{source} holds no Triptych model, but {config.model_type}, {config.architectures}; to='hf' converts "
            "from Triptych, to='triptych' the other way"
        )
    model: PreTrainedModel = our_class.from_pretrained(source, **{"dtype": "auto", **options})
    return model
