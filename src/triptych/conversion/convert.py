"""`from_hf` and `to_hf`: models of transformers become Triptych models, and the way back."""

from pathlib import Path
from typing import Any

import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig, PreTrainedModel

from .. import modeling
from ..files import short
from ..modeling.base import TriptychPreTrainedModel
from ..modeling.generation_options import take_generation_config
from ..modeling.span_head import ENDS, SpanHead
from .loading import load
from .options import Options
from .poolers import WITHOUT_POOLER, idle_fields, lacks_pooler, takes_pooler, with_field
from .registry import find_architecture, known_architectures
from .rules import Places
from .table import Architecture, CannotExpress
from .weights import build, check_weights, take_weights, tensor_names


def from_hf(source: str | Path | PreTrainedModel, **options: Any) -> Any:
    """The Triptych model that computes what a public checkpoint computes, with its generation configuration.

    Args:
        source: the name of a repository, a directory, or a model of transformers (which is not changed).
        options: options of transformers' `from_pretrained`, for a source that is loaded:

            - `cache_dir`, `force_download`, `local_files_only`, `proxies`, `revision`, `subfolder`, `token` say where
              the files are.
            - `dtype`, `generation_config`, `ignore_mismatched_sizes`, `key_mapping`, `use_safetensors`, `variant` and
              the like say how the weights are read. The weights keep the precision in which they are stored, unless
              `dtype` names another.
            - `config`, or fields of the checkpoint's configuration, such as `num_labels=3`.
            - `attn_implementation`, `device_map`, `max_memory`, `offload_folder`, `offload_buffers` hold for the
              result, and name its modules as Triptych does. The weights pass through the memory of the CPU.
            - `output_loading_info=True`: the result is (model, transformers' report).

            Every other option is refused.

    Returns:
        The model, in evaluation mode.

    Raises:
        CannotExpress (a ValueError): Triptych does not have the architecture, the class or a feature; the message
            names it.
        ValueError: an option is refused; or weights are missing from the checkpoint, or are not in memory.
    """
    if isinstance(source, PreTrainedModel):
        if options:
            raise ValueError(f"{', '.join(options)}: options belong to a source that is loaded, not to a model")
        return receive(source, keep=True)
    sorted_options = Options.sort(options)
    hf_model, report = load(source, sorted_options)
    model = receive(hf_model, **sorted_options.result)
    return (model, report) if sorted_options.reports else model


def to_hf(model: TriptychPreTrainedModel, model_type: str | None = None) -> PreTrainedModel:
    """The model of transformers that computes what a Triptych model computes.

    Args:
        model: any Triptych model, which is not changed.
        model_type: the `model_type` of the result, such as "gpt2". By default it is that of the checkpoint from which
            the model came, or else the first that can express the model.

    Raises:
        CannotExpress (a ValueError): no architecture has all features of the model; the message says what each lacks.
    """
    return send(model, model_type, keep=True)


def receive(hf_model: PreTrainedModel, keep: bool = False, **result: Any) -> TriptychPreTrainedModel:
    """The Triptych model for a model of transformers.

    Args:
        keep: leave the given model as it is. Otherwise it loses its weights, so that there is about one copy of them.
        result: options of the resulting model.
    """
    check_weights(hf_model)
    check_ends(hf_model)
    head = type(hf_model).__name__
    known = find_architecture(hf_model.config, head)
    try:
        config = known.read_config(hf_model.config, head)
    except StrictDataclassError as error:
        raise ValueError(
            f"{type(hf_model.config).__name__} makes no configuration of Triptych: {short(error)}"
        ) from error
    if lacks_pooler(hf_model):
        config.pooler = "none"
    known.read_positions(config, hf_model)
    model_class = getattr(modeling, known.heads[head])
    names = tensor_names(model_class, config)
    places = Places(known.rules, hf_model.state_dict(), names, hf_model.base_model_prefix)
    weights = places.read(take_weights(hf_model, keep), config)
    model: TriptychPreTrainedModel = build(model_class, config, weights, hf_model.dtype, **result)
    take_generation_config(model, getattr(hf_model, "generation_config", None))
    return model


def send(model: TriptychPreTrainedModel, model_type: str | None = None, keep: bool = False) -> PreTrainedModel:
    """The model of transformers for a Triptych model; `keep` as in `receive`."""
    check_weights(model)
    known, head, hf_config = destination(model, model_type)
    hf_class = getattr(transformers, head)
    options = WITHOUT_POOLER if lacks_pooler(model) and takes_pooler(hf_class) else {}
    hf_names = tensor_names(hf_class, hf_config, **options)
    places = Places(known.rules, hf_names, model.state_dict(), hf_class.base_model_prefix)
    dtype = model.dtype
    weights = places.write(take_weights(model, keep), model.config)
    written = set(weights)
    hf_model: PreTrainedModel = build(hf_class, hf_config, weights, dtype, **options)
    # By default, Marian does not save its table of positions, as if it were always sinusoids.
    hf_model._keys_to_ignore_on_save = set(hf_model._keys_to_ignore_on_save or ()) - written
    take_generation_config(hf_model, getattr(model, "generation_config", None))
    return hf_model


def destination(model: TriptychPreTrainedModel, model_type: str | None) -> tuple[Architecture, str, PreTrainedConfig]:
    """The architecture to which a model can be converted, its class in transformers and its configuration.

    Raises:
        CannotExpress: there is none.
    """
    model_type = model_type or (model.config.origin or {}).get("model_type")
    candidates = known_architectures(type(model.config), model_type)
    if model_type and not candidates:
        candidates = [find_architecture(model_type)]
    reasons = []
    config, idle = model.config, idle_fields(model)
    if lacks_pooler(model):
        config = with_field(config, "pooler", "none")
    if isinstance(model, SpanHead):  # it has two outputs for any num_labels; in transformers it has num_labels outputs
        config = with_field(config, "num_labels", ENDS)
    for known in candidates:
        try:
            head = known.head_for(type(model).__name__)
            either = {"pooler"} if lacks_pooler(model) and takes_pooler(getattr(transformers, head)) else set()
            return known, head, known.write_config(config, head, frozenset(idle | either))
        except CannotExpress as error:
            reasons.append(str(error))
    raise CannotExpress("; ".join(reasons) or f"no architecture is known for {type(model).__name__}")


def check_ends(hf_model: PreTrainedModel) -> None:
    """Refuses a head for question answering that does not have one output for each end of an answer.

    Raises:
        CannotExpress: the head has another number of outputs.
    """
    outputs = getattr(getattr(hf_model, "qa_outputs", None), "out_features", ENDS)
    if outputs != ENDS:
        raise CannotExpress(
            f"{type(hf_model).__name__} with num_labels={outputs}: an answer has {ENDS} ends, and the class in "
            f"transformers computes nothing with another number; set num_labels={ENDS}"
        )
