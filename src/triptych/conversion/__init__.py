"""Converting models of transformers to Triptych models and back, with exactly the same outputs."""

from .convert import from_hf, to_hf
from .registry import find_architecture, known_architectures
from .table import Architecture, CannotExpress

__all__ = ["Architecture", "CannotExpress", "find_architecture", "from_hf", "known_architectures", "to_hf"]
