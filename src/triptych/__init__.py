"""Triptych: the Transformer of "Attention Is All You Need", in three panels, for the Hugging Face ecosystem.

`triptych.auto` says what an import registers with other libraries.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import modeling
from .auto import register
from .configuration import (
    TriptychConfig,
    TriptychDecoderConfig,
    TriptychEncoderConfig,
    preset_info,
    preset_names,
    preset_recipe,
)
from .modeling import *  # noqa: F403 (every public model; type checkers follow its __all__)
from .warm_starts import keep_layers, replace_vocabulary

if TYPE_CHECKING:
    from .conversion import from_hf, to_hf
    from .pipelines import pipeline

__version__ = "0.1.0"

__all__ = [
    "TriptychConfig",
    "TriptychDecoderConfig",
    "TriptychEncoderConfig",
    "from_hf",
    "keep_layers",
    "pipeline",
    "preset_info",
    "preset_names",
    "preset_recipe",
    "replace_vocabulary",
    "to_hf",
]
__all__ += modeling.__all__

register()


# Imported at first use: transformers' pipelines take long to import, and most programs convert no checkpoint.
LATER = {"from_hf": "conversion", "to_hf": "conversion", "pipeline": "pipelines", "pipelines": "pipelines"}


def __getattr__(name: str) -> Any:
    if name in LATER:
        module = importlib.import_module(f".{LATER[name]}", __name__)
        return module if name == LATER[name] else getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
