"""Loading a checkpoint of transformers: its configuration, and the model that it names."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from ..configuration.common import MOST_LABELS
from ..configuration.foreign import forget_kernels
from ..files import INDEX, WEIGHTS, downloaded, is_plain, naming_damage, read_object, short, weight_files, wrong_field
from ..modeling.allocation import check_allocation
from .options import Options, refuse_unknown
from .poolers import WITHOUT_POOLER, takes_pooler
from .registry import find_architecture
from .table import CannotExpress
from .weights import check_quantization

# Fields of labels, and how the names of the classes end that have a map to labels.
LABEL_FIELDS = frozenset({"num_labels", "id2label", "label2id", "problem_type"})
WITH_LABELS = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice", "ForQuestionAnswering")


def read_config(source: str | Path, **files: Any) -> PreTrainedConfig:
    """The configuration in a directory or a repository, without an attention kernel that comes from the Hub.

    Raises:
        FileNotFoundError: the directory does not exist.
        ValueError: a file of the directory is damaged; the message names it. Or the configuration needs code that lies
            beside it.
    """
    if not Path(source).exists() and (Path(source).is_absolute() or str(source).startswith(".")):
        raise FileNotFoundError(f"{source} does not exist")
    directory = Path(source, files.get("subfolder") or "")
    with naming_damage(source, **files):
        fields, _ = PreTrainedConfig.get_config_dict(source, **files)
        model_type = fields.get("model_type")
        if model_type and model_type not in CONFIG_MAPPING:
            needs = "; its own code (auto_map) is run only with trust_remote_code=True" if "auto_map" in fields else ""
            raise ValueError(
                f"{directory}/config.json: model_type={model_type!r} is none that transformers "
                f"{transformers.__version__} or this package has{needs}"
            )
        try:
            config: PreTrainedConfig = AutoConfig.from_pretrained(source, trust_remote_code=False, **files)
        except ValueError as error:  # from the class of the configuration, which does not know its file
            raise wrong_field(directory, error) from error
    return forget_kernels(config)


def check_sizes(source: str | Path, config: PreTrainedConfig, make: Callable[[], Any], **files: Any) -> None:
    """Refuses a configuration of transformers' own classes that asks for much more memory than the weights explain.

    The classes of this package do the same when they are loaded.

    Args:
        make: makes the model from the configuration; no memory is used for it.

    Raises:
        ValueError: no model can be made of config.json, or one that is too large; see `check_allocation`.
    """
    directory = Path(source, files.get("subfolder") or "")
    with naming_damage(source, **files):
        weights = stored_weights(source, **files)
        if weights is None:
            return  # the loading says what is wrong
        try:
            with torch.device("meta"):
                model = make()
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
            raise wrong_field(directory, error) from error
        except ValueError as error:
            raise ValueError(f"{directory}/config.json: {short(error)}") from error
        check_allocation(directory, model, weights, bool(getattr(config, "quantization_config", None)))


def stored_weights(source: str | Path, **files: Any) -> list[Path] | None:
    """The files of weights of a directory, or of a repository, which are downloaded; None: there are none."""
    directory = Path(source, files.get("subfolder") or "")
    if not directory.is_dir():
        found = downloaded(source, WEIGHTS, **files) or downloaded(source, INDEX, **files)
        if found is None:
            return None
        if found.name == INDEX:
            places = read_object(found).get("weight_map")
            for name in {*filter(is_plain, places.values())} if isinstance(places, dict) else ():
                downloaded(source, name, **files)
        directory = found.parent
    try:
        return weight_files(directory)
    except FileNotFoundError:
        return None


def class_named(module: ModuleType, name: Any) -> Any:
    """The class of models with this name; None if the module has no such class."""
    found = getattr(module, name, None) if isinstance(name, str) else None
    return found if isinstance(found, type) and issubclass(found, PreTrainedModel) else None


def wanted_config(source: str | Path, options: Options) -> PreTrainedConfig:
    """The configuration of a source, or the given configuration in its place, with the given values of its fields.

    Raises:
        FileNotFoundError: the directory does not exist.
        ValueError: the configuration has no such field; or the given configuration is that of another architecture.
    """
    stored = config = read_config(source, **options.files)
    if options.config is not None:
        given = options.config
        config = copy.deepcopy(given) if isinstance(given, PreTrainedConfig) else read_config(given, **options.files)
        if type(config) is not type(stored):
            raise ValueError(f"config is a {type(config).__name__}, but {source} holds {type(stored).__name__}")
        config.architectures = config.architectures or stored.architectures
    refuse_unknown([name for name in options.fields if not hasattr(config, name)], config)
    check_number_of_labels(options.fields)
    kernel = options.result.get("attn_implementation")
    for name, value in options.fields.items():
        setattr(config, name, value)
    if config.output_attentions and kernel not in (None, "eager"):
        raise ValueError(
            f"attn_implementation={kernel!r} returns no attention weights, which output_attentions=True asks for; "
            'leave one of them out, or set attn_implementation="eager"'
        )
    return config


def check_number_of_labels(fields: dict[str, Any]) -> None:
    """Raises ValueError if `num_labels` is given, and is no number of labels; transformers names each of them."""
    number = fields.get("num_labels", 1)
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST_LABELS:
        raise ValueError(f"num_labels={number!r} must be a whole number from 1 to {MOST_LABELS}")


def chosen_class(source: str | Path, config: PreTrainedConfig, options: Options) -> tuple[type[PreTrainedModel], bool]:
    """The class of transformers for a checkpoint, and whether it is another one than the checkpoint names.

    It is the class that `architectures` names, except where the options speak of labels (`num_labels=3`) and that
    class has none: then it is the class of `AutoModelForSequenceClassification`, with a new head.

    Raises:
        CannotExpress: transformers does not have the class, or Triptych has no counterpart of it.
        ValueError: the checkpoint names no class.
    """
    named = config.architectures or []
    if not named:
        raise ValueError(f"{source}: config.json names no class in `architectures`; add the one the weights belong to")
    hf_class = class_named(transformers, named[0])
    if hf_class is None:
        raise CannotExpress(f"{source}: transformers has no class {named[0]}")
    if named[0].endswith(WITH_LABELS) or not LABEL_FIELDS & options.fields.keys():
        return hf_class, False
    labelled = class_named(transformers, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.get(config.model_type))
    option = next(name for name in options.fields if name in LABEL_FIELDS)
    if labelled is None:
        raise CannotExpress(
            f"{option}={options.fields[option]!r}: {named[0]} has no labels, and transformers has no class for the "
            f"classification of sequences for {config.model_type}; leave {option} out"
        )
    find_architecture(config, labelled.__name__)
    return labelled, True


def check_missing(source: str | Path, hf_class: type[PreTrainedModel], missing: list[str], is_new: bool) -> None:
    """Raises ValueError if a checkpoint lacks weights; a new head is not among them, nor a pooler that it reads."""
    body = f"{hf_class.base_model_prefix}."
    lacking = [name for name in missing if not is_new or (name.startswith(body) and ".pooler." not in name)]
    if lacking:
        raise ValueError(f"{source} lacks weights of {hf_class.__name__}: {', '.join(sorted(lacking))}")


def load(source: str | Path, options: Options) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model of transformers that a checkpoint names, and transformers' report of loading it.

    Raises:
        CannotExpress: transformers does not have the class; the class needs code from the checkpoint; or the weights
            are quantised.
        FileNotFoundError: the directory does not exist.
        ValueError: the checkpoint names no class, or weights are missing.
    """
    config = wanted_config(source, options)
    if config.model_type.startswith("triptych"):
        raise ValueError(f"{source} holds a Triptych model already; load it with AutoModel or its own class")
    find_architecture(config)  # raises its error before anything large is read
    check_quantization(config)
    hf_class, is_new = chosen_class(source, config, options)

    if options.weights.get("variant") is None:
        check_sizes(source, config, lambda: hf_class(copy.deepcopy(config)), **options.files)

    def read(**further: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        with naming_damage(source, **options.files):
            return hf_class.from_pretrained(
                source, config=config, **options.files, **options.weights, **further, output_loading_info=True
            )

    model, report = read()
    pooler = [name for name in report["missing_keys"] if name.startswith("pooler.")]
    if pooler and takes_pooler(hf_class):  # the checkpoint is a body that has no pooler
        model, report = read(**WITHOUT_POOLER)
    check_missing(source, hf_class, list(report["missing_keys"]), is_new)
    return model.eval(), report
