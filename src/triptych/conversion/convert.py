"""`from_hf` and `to_hf`: a model of transformers becomes one of ours, with its weights, and one of ours theirs."""

import copy
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from .. import modeling
from ..configuration import TriptychBaseConfig
from ..files import check_model_files, naming_damage
from ..modeling.base import TriptychPreTrainedModel
from ..modeling.precision import take_dtypes
from .architecture import Architecture, CannotExpress
from .registry import architecture, architectures
from .rules import Places

OWN_GENERATION_OPTIONS = ("gnmt_length_penalty", "max_length_beyond_source")
# Fields that say whether there is a dense layer, and with which activation. Not every class has a place for it.
DENSE_LAYERS = ("pooler", "classifier_activation")
WITHOUT_POOLER = {"add_pooling_layer": False}  # how a body of theirs is made without one, which no field says


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
    if lacks_pooler(theirs):
        config.pooler = "none"
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
    options = WITHOUT_POOLER if lacks_pooler(model) and takes_pooler(their_class) else {}
    theirs_names = names(their_class, config, **options)
    places = Places(known.rules, theirs_names, model.state_dict(), their_class.base_model_prefix)
    dtype = model.dtype
    state = take_weights(model, keep)
    theirs: PreTrainedModel = build(their_class, config, places.write(state, model.config), dtype, **options)
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
    config, idle = model.config, idle_fields(model)
    if lacks_pooler(model):
        config = with_field(config, "pooler", "none")
    for known in candidates:
        try:
            head = known.head_for(type(model).__name__)
            either = {"pooler"} if lacks_pooler(model) and takes_pooler(getattr(transformers, head)) else set()
            return known, head, known.their_config(config, head, frozenset(idle | either))
        except CannotExpress as error:
            reasons.append(str(error))
    raise CannotExpress("; ".join(reasons) or f"no architecture is known for {type(model).__name__}")


def lacks_pooler(model: PreTrainedModel) -> bool:
    """Whether a body, theirs or ours, was made without the pooler that its class can have."""
    return getattr(model, "pooler", False) is None


def takes_pooler(model_class: type[PreTrainedModel]) -> bool:
    """Whether a class of theirs can be made with and without a pooler."""
    return WITHOUT_POOLER.keys() <= inspect.signature(model_class.__init__).parameters.keys()


def with_field(config: TriptychBaseConfig, name: str, value: Any) -> TriptychBaseConfig:
    """A copy with one other field."""
    changed = copy.deepcopy(config)
    setattr(changed, name, value)
    return changed


def idle_fields(model: TriptychPreTrainedModel) -> set[str]:
    """Of the dense layers, those that the class has no place for, as a head over tokens has none for a pooler."""
    config, idle = model.config, set()
    for name in ("num_hidden_layers", "encoder_layers", "decoder_layers"):  # one layer tells as much as all
        if name in {f.name for f in dataclasses.fields(config)}:
            config = with_field(config, name, 1)
    for name in DENSE_LAYERS:
        given = getattr(config, name, None)
        if given is not None:
            other = with_field(config, name, "tanh" if given == "none" else "none")
            if names(type(model), config) == names(type(model), other):
                idle.add(name)
    return idle


def read_config(source: str | Path, dtype: Any = None, **options: Any) -> PreTrainedConfig:
    """The configuration in a directory or a repository. Code that lies in it runs with `trust_remote_code=True` only.

    Raises:
        FileNotFoundError: a directory that is not there.
        ValueError: a file of a directory is damaged; it is named.
    """
    if not Path(source).exists() and (Path(source).is_absolute() or str(source).startswith(".")):
        raise FileNotFoundError(f"{source} does not exist")
    check_model_files(Path(source, options.get("subfolder", "")))
    config: PreTrainedConfig = AutoConfig.from_pretrained(source, **{"trust_remote_code": False, **options})
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
    with naming_damage(source, **options):
        model, report = their_class.from_pretrained(
            source, **{"dtype": "auto", "config": config, **options}, output_loading_info=True
        )
    missing = sorted(report["missing_keys"])
    if missing and takes_pooler(their_class) and all(name.startswith("pooler.") for name in missing):
        return load(source, **{**options, **WITHOUT_POOLER})  # the checkpoint of a body that has none
    if missing:
        raise ValueError(f"{source} lacks weights of {named[0]}: {', '.join(missing)}")
    return model.eval()


def names(model_class: type[PreTrainedModel], config: PreTrainedConfig, **options: Any) -> list[str]:
    """The names of all tensors of a model, without making it."""
    with torch.device("meta"):
        return list(model_class(copy.deepcopy(config), **options).state_dict())


def build(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    tensors: dict[str, Tensor],
    dtype: torch.dtype,
    **options: Any,
) -> Any:
    """A model that holds these tensors, each in the dtype that it has, in evaluation mode.

    Args:
        dtype: of the model as a whole, which its configuration names.
    """
    shows_progress = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # of moving tensors that are in memory already
    try:
        model = model_class.from_pretrained(None, config=config, state_dict=tensors, dtype=dtype, **options).eval()
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
