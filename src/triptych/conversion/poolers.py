"""Dense layers that a model can have or lack: the pooler of a body, and the layer before a classifier."""

import copy
import dataclasses
import inspect
from typing import Any

from transformers import PreTrainedModel

from ..configuration import TriptychBaseConfig
from ..modeling.base import TriptychPreTrainedModel
from .weights import tensor_names

# Fields that say whether there is a dense layer, and which activation it has. Not every class has a place for it.
DENSE_LAYERS = ("pooler", "classifier_activation")
# The argument by which a body of transformers is made without a pooler; no field of its configuration says it.
WITHOUT_POOLER = {"add_pooling_layer": False}


def lacks_pooler(model: PreTrainedModel) -> bool:
    """Whether a body, of transformers or of Triptych, was made without the pooler that its class can have."""
    return getattr(model, "pooler", False) is None


def takes_pooler(hf_class: type[PreTrainedModel]) -> bool:
    """Whether a class of transformers can be made with and without a pooler."""
    return WITHOUT_POOLER.keys() <= inspect.signature(hf_class.__init__).parameters.keys()


def with_field(config: TriptychBaseConfig, name: str, value: Any) -> TriptychBaseConfig:
    """A copy of the configuration in which one field has another value."""
    changed = copy.deepcopy(config)
    setattr(changed, name, value)
    return changed


def idle_fields(model: TriptychPreTrainedModel) -> set[str]:
    """The fields of dense layers for which the class has no place; a head over tokens, for example, has no pooler."""
    config, idle = model.config, set()
    for name in ("num_hidden_layers", "encoder_layers", "decoder_layers"):  # one layer is enough for the comparison
        if name in {f.name for f in dataclasses.fields(config)}:
            config = with_field(config, name, 1)
    for name in DENSE_LAYERS:
        given = getattr(config, name, None)
        if given is not None:
            other = with_field(config, name, "tanh" if given == "none" else "none")
            if tensor_names(type(model), config) == tensor_names(type(model), other):
                idle.add(name)
    return idle
