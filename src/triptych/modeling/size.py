"""How large a published model is, without the memory that it would take."""

import importlib

import torch

from ..configuration import preset_info
from .base import TriptychPreTrainedModel


def counted_model(preset: str) -> TriptychPreTrainedModel:
    """The model whose parameters the published figure of the preset counts, on the meta device: shapes only.

    Raises:
        ValueError: no such preset.
    """
    class_name, _, part = preset_info(preset)["counted"].partition(".")
    model_class = getattr(importlib.import_module(__package__), class_name)
    config = model_class.config_class.from_preset(preset)
    with torch.device("meta"):
        model: TriptychPreTrainedModel = model_class(config).get_submodule(part)  # the whole one where it is empty
    return model
