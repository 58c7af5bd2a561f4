"""Configurations: three families, one vocabulary of fields, published sizes as data."""

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
