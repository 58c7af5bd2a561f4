"""The configurations of the three families, which share one set of fields, and the presets of published models."""

from .common import TriptychBaseConfig
from .families import TriptychConfig, TriptychDecoderConfig, TriptychEncoderConfig
from .presets import preset_info, preset_names, preset_recipe

__all__ = [
    "TriptychBaseConfig",
    "TriptychConfig",
    "TriptychDecoderConfig",
    "TriptychEncoderConfig",
    "preset_info",
    "preset_names",
    "preset_recipe",
]
