"""Public checkpoints in, exactly, and out again."""

from .architecture import Architecture, CannotExpress
from .convert import from_hf, to_hf
from .registry import architecture, architectures

__all__ = ["Architecture", "CannotExpress", "architecture", "architectures", "from_hf", "to_hf"]
