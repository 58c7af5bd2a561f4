"""`from_hf` and `to_hf`: a model of transformers becomes one of ours, with its weights, and one of ours theirs."""

import copy
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from .. import modeling
from ..modeling.base import TriptychPreTrainedModel
from ..modeling.precision import take_dtypes
from .architecture import Architecture, CannotExpress
from .registry import architecture, architectures
from .rules import Places

OWN_GENERATION_OPTIONS = ("gnmt_length_penalty", "max_length_beyond_source")


def from_hf(source: str | Path | PreTrainedModel, **options: Any) -> TriptychPreTrainedModel:
    """The Triptych model that computes what a public checkpoint computes, with its generation configuration.

    Args:
        source: the name of a repository, a directory, or a model of transformers (which stays as it is).
        options: of transformers' `from_pretrained`, such as `dtype`, `revision`, `token`, `local_files_only`. Weights
            keep the precision in which they are stored unless `dtype` names another.

    Raises:
        CannotExpress (a ValueError): an architecture, class or feature that our models do not have; it is named.
        ValueError: weights are missing from the checkpoint.
    """
    if not isinstance(source, PreTrainedModel):
        return receive(load(source, **options))
    if options:
        raise ValueError(f"{', '.join(options)}: options belong to a source that is loaded, not to a model")
    return receive(source, keep=True)


def to_hf(model: TriptychPreTrainedModel, model_type: str | None = None) -> PreTrainedModel:
    """The model of transformers' own that computes what a Triptych model computes.

    Args:
        model: any Triptych model.
        model_type: of the result, such as "gpt2"; by default that of the checkpoint from which the model came, else
            the first that can express it.

    Raises:
        CannotExpress (a ValueError): no architecture has all features of the model; what each lacks is named.
    """
    return send(model, model_type, keep=True)


def receive(theirs: PreTrainedModel, keep: bool = False) -> TriptychPreTrainedModel:
    """Our model for one of theirs, which is used up unless it is to be kept: its weights go as ours come."""
    head = type(theirs).__name__
    known = architecture(theirs.config, head)
    config = known.our_config(theirs.config, head)
    our_class = getattr(modeling, known.heads[head])
    places = Places(known.rules, theirs.state_dict(), names(our_class, config), theirs.base_model_prefix)
    state = take_weights(theirs, keep)
    ours: TriptychPreTrainedModel = build(our_class, config, places.read(state, config), theirs.dtype)
    take_generation_config(ours, getattr(theirs, "generation_config", None))
    return ours


def send(model: TriptychPreTrainedModel, model_type: str | None = None, keep: bool = False) -> PreTrainedModel:
    """Their model for one of ours, which is used up unless it is to be kept."""
    known, head, config = destination(model, model_type)
    their_class = getattr(transformers, head)
    places = Places(known.rules, names(their_class, config), model.state_dict(), their_class.base_model_prefix)
    dtype = model.dtype
    state = take_weights(model, keep)
    theirs: PreTrainedModel = build(their_class, config, places.write(state, model.config), dtype)
    take_generation_config(theirs, getattr(model, "generation_config", None))
    return theirs


def take_weights(model: PreTrainedModel, keep: bool) -> dict[str, Tensor]:
    """All tensors of a model: a copy, or themselves, so that nothing else holds them."""
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    if keep:
        copies = {place: t.clone() for place, t in {t.data_ptr(): t for t in state.values()}.items()}
        return {name: copies[tensor.data_ptr()] for name, tensor in state.items()}
    model.to_empty(device="meta")
    return state


def destination(model: TriptychPreTrainedModel, model_type: str | None) -> tuple[Architecture, str, PreTrainedConfig]:
    """The architecture that a model can be written to, its class and its configuration."""
    model_type = model_type or (model.config.origin or {}).get("model_type")
    candidates = architectures(type(model.config), model_type)
    if model_type and not candidates:
        candidates = [architecture(model_type)]
    reasons = []
    for known in candidates:
        try:
            head = known.head_for(type(model).__name__)
            return known, head, known.their_config(model.config, head)
        except CannotExpress as error:
            reasons.append(str(error))
    raise CannotExpress("; ".join(reasons) or f"no architecture is known for {type(model).__name__}")


def read_config(source: str | Path, dtype: Any = None, **options: Any) -> PreTrainedConfig:
    """The configuration in a directory or a repository.

    Raises:
        FileNotFoundError: a directory that is not there.
    """
    if not Path(source).exists() and (Path(source).is_absolute() or str(source).startswith(".")):
        raise FileNotFoundError(f"{source} does not exist")
    config: PreTrainedConfig = AutoConfig.from_pretrained(source, **options)
    return config


def load(source: str | Path, **options: Any) -> PreTrainedModel:
    """The model of transformers that a checkpoint names.

    Raises:
        CannotExpress: a class that transformers does not have, or that needs code from the checkpoint.
        FileNotFoundError: a directory that is not there.
        ValueError: no class is named, or weights are missing.
    """
    config = read_config(source, **options)
    if config.model_type.startswith("triptych"):
        raise ValueError(f"{source} holds a Triptych model already; load it with AutoModel or its own class")
    architecture(config)  # complains before anything large is read
    named = config.architectures or []
    if not named:
        raise ValueError(f"{source}: config.json names no class in `architectures`; add the one the weights belong to")
    their_class = getattr(transformers, named[0], None)
    if their_class is None:
        raise CannotExpress(f"{source}: transformers has no class {named[0]}")
    model, report = their_class.from_pretrained(
        source, **{"dtype": "auto", "config": config, **options}, output_loading_info=True
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{source} lacks weights of {named[0]}: {', '.join(missing)}")
    return model.eval()


def names(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> list[str]:
    """The names of all tensors of a model, without making it."""
    with torch.device("meta"):
        return list(model_class(copy.deepcopy(config)).state_dict())


def build(
    model_class: type[PreTrainedModel], config: PreTrainedConfig, tensors: dict[str, Tensor], dtype: torch.dtype
) -> Any:
    """A model that holds these tensors, each in the dtype that it has, in evaluation mode.

    Args:
        dtype: of the model as a whole, which its configuration names.
    """
    shows_progress = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # of moving tensors that are in memory already
    try:
        model = model_class.from_pretrained(None, config=config, state_dict=tensors, dtype=dtype).eval()
    finally:
        if shows_progress:
            logging.enable_progress_bar()
    take_dtypes(model, tensors)
    places = set()
    for parameter in model.parameters():  # two that are not tied, though the tensors were one: else a file has one
        if parameter.numel() and parameter.data_ptr() in places:
            parameter.data = parameter.data.clone()
        places.add(parameter.data_ptr())
    return model


def take_generation_config(model: Any, given: GenerationConfig | None) -> None:
    """Gives a model that generates the options of another."""
    if given is None or not model.can_generate():
        return
    taken = copy.deepcopy(given)
    taken._from_model_config = False
    if not isinstance(model, TriptychPreTrainedModel):
        for name in OWN_GENERATION_OPTIONS:
            if hasattr(taken, name):
                delattr(taken, name)
    model.generation_config = taken
