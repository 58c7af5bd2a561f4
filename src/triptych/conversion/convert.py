"""`from_hf` and `to_hf`: a model of transformers becomes one of ours, with its weights, and one of ours theirs."""

import copy
import dataclasses
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from .. import modeling
from ..configuration import TriptychBaseConfig
from ..configuration.foreign import forget_kernels
from ..files import check_model_files, naming_damage
from ..modeling.base import TriptychPreTrainedModel
from ..modeling.generation_options import take_generation_config
from ..modeling.precision import take_dtypes
from .architecture import Architecture, CannotExpress
from .options import Options, refuse_unknown
from .registry import architecture, architectures
from .rules import Places

# Fields that say whether there is a dense layer, and with which activation. Not every class has a place for it.
DENSE_LAYERS = ("pooler", "classifier_activation")
WITHOUT_POOLER = {"add_pooling_layer": False}  # how a body of theirs is made without one, which no field says


def from_hf(source: str | Path | PreTrainedModel, **options: Any) -> Any:
    """The Triptych model that computes what a public checkpoint computes, with its generation configuration.

    Args:
        source: the name of a repository, a directory, or a model of transformers (which stays as it is).
        options: of transformers' `from_pretrained`, for a source that is loaded:

            - `cache_dir`, `force_download`, `local_files_only`, `proxies`, `revision`, `subfolder`, `token`: where the
              files are.
            - `dtype`, `generation_config`, `ignore_mismatched_sizes`, `key_mapping`, `use_safetensors`, `variant` and
              the like: how weights are read. They keep the precision in which they are stored unless `dtype` names
              another.
            - `config`, or fields of the checkpoint's configuration, such as `num_labels=3`.
            - `attn_implementation`, `device_map`, `max_memory`, `offload_folder`, `offload_buffers`: of the result,
              whose modules have our names. The weights pass through the memory of the CPU.
            - `output_loading_info=True`: the result is (model, transformers' report).

            All others are refused.

    Returns:
        The model, in evaluation mode.

    Raises:
        CannotExpress (a ValueError): an architecture, class or feature that our models do not have; it is named.
        ValueError: an option that is refused; weights that are missing from the checkpoint, or elsewhere.
    """
    if isinstance(source, PreTrainedModel):
        if options:
            raise ValueError(f"{', '.join(options)}: options belong to a source that is loaded, not to a model")
        return receive(source, keep=True)
    sort = Options.sort(options)
    theirs, report = load(source, sort)
    ours = receive(theirs, **sort.result)
    return (ours, report) if sort.reports else ours


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


def receive(theirs: PreTrainedModel, keep: bool = False, **result: Any) -> TriptychPreTrainedModel:
    """Our model for one of theirs, which is used up unless it is to be kept: its weights go as ours come."""
    check_weights(theirs)
    head = type(theirs).__name__
    known = architecture(theirs.config, head)
    config = known.our_config(theirs.config, head)
    if lacks_pooler(theirs):
        config.pooler = "none"
    known.heed_tables(config, theirs)
    our_class = getattr(modeling, known.heads[head])
    places = Places(known.rules, theirs.state_dict(), names(our_class, config), theirs.base_model_prefix)
    state = take_weights(theirs, keep)
    ours: TriptychPreTrainedModel = build(our_class, config, places.read(state, config), theirs.dtype, **result)
    take_generation_config(ours, getattr(theirs, "generation_config", None))
    return ours


def send(model: TriptychPreTrainedModel, model_type: str | None = None, keep: bool = False) -> PreTrainedModel:
    """Their model for one of ours, which is used up unless it is to be kept."""
    check_weights(model)
    known, head, config = destination(model, model_type)
    their_class = getattr(transformers, head)
    options = WITHOUT_POOLER if lacks_pooler(model) and takes_pooler(their_class) else {}
    theirs_names = names(their_class, config, **options)
    places = Places(known.rules, theirs_names, model.state_dict(), their_class.base_model_prefix)
    dtype = model.dtype
    weights = places.write(take_weights(model, keep), model.config)
    written = set(weights)
    theirs: PreTrainedModel = build(their_class, config, weights, dtype, **options)
    # Marian saves no table of positions, as if none were trained.
    theirs._keys_to_ignore_on_save = set(theirs._keys_to_ignore_on_save or ()) - written
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


def check_weights(model: PreTrainedModel) -> None:
    """Refuses a model whose weights cannot be rearranged.

    Raises:
        CannotExpress: the weights are quantised.
        ValueError: some are not in memory.
    """
    check_quantization(model.config)
    if absent := [name for name, tensor in model.state_dict().items() if tensor.is_meta]:
        raise ValueError(
            f"{type(model).__name__} has weights that are not in memory, such as {absent[0]} (device_map put them on "
            "the disk, or on the CPU while it computes elsewhere); load it without device_map"
        )


def check_quantization(config: PreTrainedConfig) -> None:
    """Refuses quantised weights.

    Raises:
        CannotExpress: the weights are quantised.
    """
    if found := getattr(config, "quantization_config", None):
        method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
        raise CannotExpress(
            f"{config.model_type} with quantization_config ({getattr(method, 'value', method)}): quantised weights "
            "cannot be rearranged; convert the model before it is quantised"
        )


def read_config(source: str | Path, **files: Any) -> PreTrainedConfig:
    """The configuration in a directory or a repository, without an attention kernel that comes from the Hub.

    Raises:
        FileNotFoundError: a directory that is not there.
        ValueError: a file of a directory is damaged; it is named.
    """
    if not Path(source).exists() and (Path(source).is_absolute() or str(source).startswith(".")):
        raise FileNotFoundError(f"{source} does not exist")
    check_model_files(Path(source, files.get("subfolder") or ""))
    with naming_damage(source, **files):
        config: PreTrainedConfig = AutoConfig.from_pretrained(source, trust_remote_code=False, **files)
    return forget_kernels(config)


def class_named(module: ModuleType, name: Any) -> Any:
    """The class of models that a configuration names; None where the module has no such class."""
    found = getattr(module, name, None) if isinstance(name, str) else None
    return found if isinstance(found, type) and issubclass(found, PreTrainedModel) else None


def wanted_config(source: str | Path, options: Options) -> PreTrainedConfig:
    """The configuration of a source, or the one that is given in its place, with the fields that are given.

    Raises:
        FileNotFoundError: a directory that is not there.
        ValueError: a field that it does not have; or the configuration of another architecture is given.
    """
    stored = config = read_config(source, **options.files)
    if options.config is not None:
        given = options.config
        config = copy.deepcopy(given) if isinstance(given, PreTrainedConfig) else read_config(given, **options.files)
        if type(config) is not type(stored):
            raise ValueError(f"config is a {type(config).__name__}, but {source} holds {type(stored).__name__}")
        config.architectures = config.architectures or stored.architectures
    refuse_unknown([name for name in options.fields if not hasattr(config, name)], config)
    kernel = options.result.get("attn_implementation")
    for name, value in options.fields.items():
        setattr(config, name, value)
    if config.output_attentions and kernel not in (None, "eager"):
        raise ValueError(
            f"attn_implementation={kernel!r} returns no attention weights, which output_attentions=True asks for; "
            'leave one of them out, or set attn_implementation="eager"'
        )
    return config


def load(source: str | Path, options: Options) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model of transformers that a checkpoint names, and transformers' report.

    Raises:
        CannotExpress: a class that transformers does not have, or that needs code from the checkpoint; quantised
            weights.
        FileNotFoundError: a directory that is not there.
        ValueError: no class is named, or weights are missing.
    """
    config = wanted_config(source, options)
    if config.model_type.startswith("triptych"):
        raise ValueError(f"{source} holds a Triptych model already; load it with AutoModel or its own class")
    architecture(config)  # complains before anything large is read
    check_quantization(config)
    named = config.architectures or []
    if not named:
        raise ValueError(f"{source}: config.json names no class in `architectures`; add the one the weights belong to")
    their_class = class_named(transformers, named[0])
    if their_class is None:
        raise CannotExpress(f"{source}: transformers has no class {named[0]}")

    def read(**further: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        with naming_damage(source, **options.files):
            return their_class.from_pretrained(
                source, config=config, **options.files, **options.weights, **further, output_loading_info=True
            )

    model, report = read()
    pooler = [name for name in report["missing_keys"] if name.startswith("pooler.")]
    if pooler and takes_pooler(their_class):  # the checkpoint of a body that has none
        model, report = read(**WITHOUT_POOLER)
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{source} lacks weights of {named[0]}: {', '.join(missing)}")
    return model.eval(), report


def names(model_class: type[PreTrainedModel], config: PreTrainedConfig, **options: Any) -> list[str]:
    """The names of all tensors of a model, without making it."""
    with torch.device("meta"):
        return list(model_class(copy.deepcopy(config), **options).state_dict())


def build(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    tensors: dict[str, Tensor],
    dtype: torch.dtype,
    **result: Any,
) -> Any:
    """A model that holds these tensors, each in the dtype that it has, in evaluation mode.

    Args:
        dtype: of the model as a whole, which its configuration names.
    """
    shows_progress = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # of moving tensors that are in memory already
    try:
        model = model_class.from_pretrained(None, config=config, state_dict=tensors, dtype=dtype, **result).eval()
    finally:
        if shows_progress:
            logging.enable_progress_bar()
    take_dtypes(model, tensors)
    separate(model)
    return model


def separate(model: PreTrainedModel) -> None:
    """Gives each parameter memory of its own.

    Two parameters that are not tied, but were made from one tensor, would share it: training would change both, and
    `save_pretrained` would write one of them only.
    """
    seen = set()
    for parameter in model.parameters():  # what is tied is one parameter
        if parameter.device.type != "meta" and parameter.numel():
            if parameter.data_ptr() in seen:
                parameter.data = parameter.data.clone()
            seen.add(parameter.data_ptr())
