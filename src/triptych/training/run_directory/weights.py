"""Writing the directory of a model in one step, and reading weights into a model that is in use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from ...files import AGAIN, TEMPORARY, Ours, put_in_place, remove, short


def fresh_directory(path: Path, is_ours: Ours) -> Path:
    """Makes an empty directory, in the place of a directory that a killed run left.

    Raises:
        FileExistsError: something else stands there.
    """
    if remove(path, is_ours):
        raise FileExistsError(f"{path} is in the way; move it away")
    path.mkdir()
    return path


def save_model(model: Any, final: Path, fill: Callable[[Path], None], is_ours: Ours) -> None:
    """Writes the directory `final` in one step: weights and configuration, and what `fill` adds."""
    temporary = fresh_directory(final.with_name(final.name + TEMPORARY), is_ours)
    model.save_pretrained(temporary)
    fill(temporary)
    old = final.with_name(f"{final.name}.old{TEMPORARY}")  # where an earlier attempt at the same step stands meanwhile
    put_in_place(temporary, final, old, lambda path: is_ours(f"{final.name}/{path}"))


def load_weights(model: nn.Module, directory: str | Path, remedy: str = AGAIN) -> None:
    """Copies the weights that `save_pretrained` wrote into a model that is in use; tied weights and shards, too.

    Raises:
        ValueError: weights are missing, or they are the weights of another model.
    """
    options = {"output_loading_info": True} if isinstance(model, PreTrainedModel) else {}
    stored = type(model).from_pretrained(directory, **options)  # type: ignore[attr-defined]
    if options:
        stored, report = stored
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"the weights in {directory} are damaged ({missing[0]!r} is missing); {remedy}")
    try:
        model.load_state_dict(stored.state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"the weights in {directory} are those of another model ({short(error)}); {remedy}"
        ) from error
