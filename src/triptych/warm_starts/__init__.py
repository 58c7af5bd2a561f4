"""Warm starts: new models from trained ones, which keep the weights that both have."""

from .joining import join
from .pruning import keep_layers
from .vocabulary import replace_vocabulary

__all__ = ["join", "keep_layers", "replace_vocabulary"]
