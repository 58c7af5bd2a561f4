"""Where the model of a run comes from: a preset, or a checkpoint of this package or of a public architecture.

The weights of a checkpoint are trained in float32, whatever precision they are stored in; `mixed_precision` says in
which precision they compute.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel

from ..configuration import TriptychConfig, TriptychDecoderConfig, TriptychEncoderConfig, preset_names
from ..configuration.presets import preset_info
from ..conversion import CannotExpress, find_architecture, from_hf, known_architectures
from ..conversion.convert import receive
from ..conversion.loading import check_sizes, class_named, read_config
from ..conversion.weights import build, check_quantization, quiet
from ..data.quantities import counted
from ..files import naming_damage

FAMILY_CONFIGS: dict[str, type[PreTrainedConfig]] = {
    "encoder-decoder": TriptychConfig,
    "encoder": TriptychEncoderConfig,
    "decoder": TriptychDecoderConfig,
}
# Fields that transformers' own configurations have under the same names.
LABEL_FIELDS = ("num_labels", "id2label", "label2id", "problem_type")


def family_of(config_class: type[PreTrainedConfig]) -> str:
    """Returns the word for the family of a configuration class."""
    return next(word for word, known in FAMILY_CONFIGS.items() if known is config_class)


def is_ours(config: PreTrainedConfig) -> bool:
    """Says whether a configuration is one of this package."""
    return isinstance(config, tuple(FAMILY_CONFIGS.values()))


def configuration_of(model: str | None) -> PreTrainedConfig | None:
    """Returns the configuration of a checkpoint; None where there is none.

    Raises:
        ValueError, FileNotFoundError: see `read_config`.
    """
    return read_config(model) if model else None


def choose_family(
    model: str | None, preset: str | None, families: Iterable[str], config: PreTrainedConfig | None = None
) -> str:
    """Returns the family of the model that a run trains.

    Args:
        model: a directory or a repository; None: there is none.
        preset: the name of a preset; None: there is none. Without both, it is the first of `families`.
        families: the families that the task can train.
        config: the configuration of the model; None: it is read.

    Raises:
        ValueError: the model or the preset belongs to another family, or there is no such preset, or no such
            architecture.
        FileNotFoundError: there is no such model.
    """
    families = list(families)
    if model is not None:
        found, named = families_of(config or read_config(model)), f"--model {model}"
    elif preset is not None:
        preset_info(preset)  # raises its error for an unknown name
        found = [word for word in FAMILY_CONFIGS if preset in preset_names(FAMILY_CONFIGS[word].model_type)]
        named = f"--preset {preset}"
    else:
        return families[0]
    for family in found:
        if family in families:
            return family
    is_one, wanted = " or ".join(found), " or ".join(families)
    raise ValueError(f"{named}: its family is {is_one}, but this task trains a model of the family {wanted}")


def families_of(config: PreTrainedConfig) -> list[str]:
    """Returns the families that a configuration can belong to: one, or several (T5's encoder stands alone, too).

    Raises:
        CannotExpress (a ValueError): the architecture is not known.
    """
    if is_ours(config):
        return [family_of(type(config))]
    find_architecture(config)  # raises its error
    return [family_of(known.config_class) for known in known_architectures(model_type=config.model_type)]


def load_checkpoint(
    source: str,
    model_class: type[PreTrainedModel],
    fields: Mapping[str, Any],
    config: PreTrainedConfig | None = None,
) -> tuple[PreTrainedModel, list[str]]:
    """Loads a checkpoint into a model class: the body keeps its weights; a head that it lacks gets new ones.

    A public checkpoint is first loaded into transformers' own class for the head, if there is one. So a new head
    starts as it does there.

    Args:
        source: a directory or a repository, of this package or of any architecture that `from_hf` knows.
        fields: fields of the configuration that differ from the checkpoint's; none may change the shape of a weight
            of the body.
        config: its configuration, which is not changed; None: it is read.

    Returns:
        The model, and the names of the tensors that are new.

    Raises:
        ValueError: weights of the body are missing, or a field changes their shape; the message names it.
        FileNotFoundError: there is no such checkpoint.
    """
    config = config or read_config(source)
    check_quantization(config)
    labels = {name: fields[name] for name in LABEL_FIELDS if name in fields}
    others = {name: value for name, value in fields.items() if name not in LABEL_FIELDS}
    if is_ours(config):
        model, new = read_weights(source, model_class, with_fields(config, labels))
    else:
        model, new = read_foreign(source, model_class, config, labels)
    return with_changed_fields(model, others), new


def read_foreign(
    source: str, model_class: type[PreTrainedModel], config: PreTrainedConfig, labels: Mapping[str, Any]
) -> tuple[PreTrainedModel, list[str]]:
    """Loads a public checkpoint into a class of this package, with fields of its labels."""
    known = known_architectures(model_class.config_class, config.model_type)[0]
    try:
        hf_class = getattr(transformers, known.head_for(model_class.__name__))
    except CannotExpress:  # transformers has no such head for this architecture
        hf_class = None
    stored = class_named(transformers, (config.architectures or [None])[0])
    # Some heads of transformers call their body by another name than the rest of the architecture, so that they cannot
    # read its checkpoints. Llama's head for question answering does.
    if hf_class is None or (stored is not None and stored.base_model_prefix != hf_class.base_model_prefix):
        return with_head(from_hf(source, dtype=torch.float32), model_class, labels)
    hf_model, new = read_weights(source, hf_class, with_fields(config, labels))
    model = receive(hf_model)
    # The names of a new head are those of transformers; in our class, it is what stands outside the body.
    prefix = f"{model_class.base_model_prefix}."
    outside = [name for name, _ in model.named_parameters() if not name.startswith(prefix)]
    return model, [name for name in outside if "pooler" not in name] if new else []


def read_weights(
    source: str, model_class: type[PreTrainedModel], config: PreTrainedConfig
) -> tuple[PreTrainedModel, list[str]]:
    """Reads the weights of a checkpoint; returns the model, and the names of its tensors that the checkpoint lacks.

    Raises:
        ValueError: a weight of the body is missing, or has another shape.
    """
    with quiet(), naming_damage(source):
        check_sizes(source, config, lambda: model_class(copy.deepcopy(config)))
        model, report = model_class.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            use_safetensors=True,
        )
    return model, new_tensors(source, model, report)


def new_tensors(source: str, model: PreTrainedModel, report: Mapping[str, Any]) -> list[str]:
    """Returns the names of the tensors that a checkpoint does not give, by transformers' report of loading it.

    Raises:
        ValueError: one of them belongs to the body; only its pooler may be new.
    """
    names = [*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])]
    is_body = type(model).__name__.endswith("Model") and model.base_model is model
    body = "" if is_body else f"{model.base_model_prefix}."
    lacking = sorted(name for name in names if name.startswith(body) and "pooler." not in name)
    if lacking:
        raise ValueError(
            f"{source} does not give {counted(len(lacking), 'weights')} of {type(model).__name__}, such as "
            f"{lacking[0]}: it is damaged, or holds another model"
        )
    return sorted(names)


def with_head(
    model: PreTrainedModel, model_class: type[PreTrainedModel], fields: Mapping[str, Any]
) -> tuple[PreTrainedModel, list[str]]:
    """Returns a model of another class with the same body, and the names of its new tensors."""
    with quiet():
        changed, report = model_class.from_pretrained(
            None,
            config=with_fields(model.config, fields),
            state_dict=model.state_dict(),
            dtype=model.dtype,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    return changed, new_tensors(type(model).__name__, changed, report)


def with_fields(config: PreTrainedConfig, fields: Mapping[str, Any]) -> PreTrainedConfig:
    """Returns a copy of a configuration with other values of some fields.

    Raises:
        ValueError: a value is out of range.
    """
    changed = copy.deepcopy(config)
    for name, value in fields.items():
        setattr(changed, name, value)
    if is_ours(changed):
        changed.validate()
    return changed


def with_changed_fields(model: PreTrainedModel, fields: Mapping[str, Any]) -> PreTrainedModel:
    """Returns the model with other values of some fields, such as `dropout`; its weights stay.

    Raises:
        ValueError: with these values, the model would have other weights.
    """
    fields = {name: value for name, value in fields.items() if getattr(model.config, name) != value}
    if not fields:
        return model
    config = with_fields(model.config, fields)
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in type(model)(copy.deepcopy(config)).state_dict().items()}
    stored = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if differing := sorted(name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name)):
        given = ", ".join(f"{name}={value}" for name, value in fields.items())
        raise ValueError(
            f"{given}: with this the model does not have the weights of the checkpoint, such as {differing[0]}; "
            "leave out fields that change the size of a model that is given by --model"
        )
    changed: PreTrainedModel = build(type(model), config, dict(model.state_dict()), model.dtype)
    if model.can_generate():
        changed.generation_config = model.generation_config
    return changed
