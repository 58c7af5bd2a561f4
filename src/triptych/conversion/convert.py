"""`from_hf` and `to_hf`: models of transformers become Triptych models, and the way back."""

from pathlib import Path
from typing import Any, NamedTuple

import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from .. import modeling
from ..configuration import TriptychBaseConfig
from ..files import short
from ..modeling.base import TriptychPreTrainedModel
from ..modeling.generation_options import take_generation_config
from ..modeling.span_head import ENDS, SpanHead
from .equivalents import Step, steps_towards, without_form
from .generation import give_generation_config
from .loading import load
from .options import Options
from .poolers import WITHOUT_POOLER, idle_fields, lacks_pooler, takes_pooler, with_field
from .registry import find_architecture, known_architectures
from .rules import Places
from .table import Architecture, CannotExpress
from .weights import build, check_weights, quiet, take_weights, tensor_names

logger = logging.get_logger(__name__)


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
            - `config`, or fields of the checkpoint's configuration. Fields of labels, such as `num_labels=3`, ask for
              a classification: a checkpoint without a map to labels gets a new one over sequences, as with
              `AutoModelForSequenceClassification`.
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

    If no architecture has the model as it is, one may have it in an equivalent form, with equal outputs: a missing
    bias becomes a bias of zeros, for example. A warning says what was done; `equivalents.py` has all forms.

    Args:
        model: any Triptych model, which is not changed.
        model_type: the `model_type` of the result, such as "gpt2". By default it is that of the checkpoint from which
            the model came, or else the first that can express the model as it is, or else the one whose form is
            nearest.

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
    check_is_ours(model)
    check_weights(model)
    found = destination(model, model_type)
    hf_class = getattr(transformers, found.head)
    options = WITHOUT_POOLER if lacks_pooler(model) and takes_pooler(hf_class) else {}
    hf_names = tensor_names(hf_class, found.hf_config, **options)
    names = tensor_names(type(model), found.config) if found.steps else list(model.state_dict())
    places = Places(found.known.rules, hf_names, names, hf_class.base_model_prefix)
    dtype = model.dtype
    weights = take_weights(model, keep)
    for step in found.steps:
        step.form.rewrite(weights, step.before, step.after)
    weights = places.write(weights, found.config)
    written = set(weights)
    with quiet():  # tables that are not among the weights are computed: `Places` knows which
        hf_model: PreTrainedModel = build(hf_class, found.hf_config, weights, dtype, **options)
    # By default, Marian does not save its table of positions, as if it were always sinusoids.
    hf_model._keys_to_ignore_on_save = set(hf_model._keys_to_ignore_on_save or ()) - written
    give_generation_config(hf_model, model)
    if found.steps:
        logger.warning(found.says(model))
    if forgotten := sorted(written & set(hf_class._keys_to_ignore_on_save or ())):
        logger.warning(
            f"{found.head} has other positions than transformers expects ({forgotten[0]}): a directory that this "
            "model is saved in has them, but transformers would leave them out if it loaded that directory and saved "
            "it again"
        )
    return hf_model


def check_is_ours(model: Any) -> None:
    """Raises TypeError for what is no Triptych model, and ValueError for adapters that are not merged."""
    adapters = [
        name for name, _ in model.named_modules() if name.endswith(("lora_A", "base_layer", "modules_to_save"))
    ]
    if adapters:
        raise ValueError(
            f"{type(model).__name__} has adapters ({adapters[0]}), which transformers' class has no place for; merge "
            "them first: model = model.merge_and_unload()"
        )
    if not isinstance(model, TriptychPreTrainedModel):
        raise TypeError(f"to_hf takes a Triptych model, not {type(model).__name__}")


class Destination(NamedTuple):
    """Where a Triptych model can go.

    Args:
        known, head: the architecture, and its class in transformers.
        hf_config: the configuration of transformers.
        config: the configuration of Triptych of which `hf_config` is the counterpart.
        steps: the steps from the model's own configuration to `config`.
    """

    known: Architecture
    head: str
    hf_config: PreTrainedConfig
    config: TriptychBaseConfig
    steps: tuple[Step, ...] = ()

    @property
    def cost(self) -> int:
        """How much is given up on the way."""
        return sum(step.form.cost for step in self.steps)

    def says(self, model: TriptychPreTrainedModel) -> str:
        """What the steps do, for the user."""
        done = dict.fromkeys(step.form.says for step in self.steps)
        return f"{type(model).__name__} becomes {self.head}, with equal outputs, in another form: {'; '.join(done)}"


def destination(model: TriptychPreTrainedModel, model_type: str | None) -> Destination:
    """The architecture to which a model can be converted: one that has the same fields, or else an equivalent form.

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
    is_body = model.base_model is model
    found = []
    for known in candidates:
        try:
            head = known.head_for(type(model).__name__)
            either = {"pooler"} if lacks_pooler(model) and takes_pooler(getattr(transformers, head)) else set()
            found.append(reach(known, head, config, frozenset(idle | either), is_body))
        except CannotExpress as error:
            reasons.append(str(error))
    if not found:
        raise CannotExpress("; ".join(reasons) or f"no architecture is known for {type(model).__name__}")
    return min(found, key=lambda place: place.cost)  # the first of those that cost the same


def reach(
    known: Architecture, head: str, config: TriptychBaseConfig, idle: frozenset[str], keeps_channels: bool
) -> Destination:
    """The way of a configuration to one architecture, by as many equivalent forms as it takes.

    Args:
        idle: as in `Architecture.write_config`.
        keeps_channels: whether hidden states have to keep the order of their channels, as those of a body do.

    Raises:
        CannotExpress: no equivalent form leads there; the message says what the architecture lacks.
    """
    steps: tuple[Step, ...] = ()
    reached = config
    lacks: CannotExpress | None = None  # what the architecture lacks of the model as it is
    while True:
        try:
            return Destination(known, head, known.write_config(reached, head, idle), reached, steps)
        except CannotExpress as error:
            lacks = lacks or error
            taken = {step.form for step in steps}
            further = (s for s in steps_towards(reached, error.wanted, keeps_channels) if s.form not in taken)
            if (step := next(further, None)) is None:
                wanted = {name: value for name, value in lacks.wanted.items() if name in error.wanted}
                obstacles = without_form(config, wanted, keeps_channels)
                raise known.refusal(config, obstacles) or error from error
            steps, reached = (*steps, step), step.after


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
