"""The architectures that are known: each a module in architectures/, found by being there."""

import functools
import importlib
import pkgutil

from transformers import PreTrainedConfig

from ..configuration import TriptychBaseConfig
from . import architectures as folder
from .architecture import Architecture, CannotExpress

# Public architectures that cannot be one of ours, and what they have that no layer of ours has.
UNLIKE = {
    "albert": "all layers share one set of weights",
    "bloom": "ALiBi, a bias of the scores that grows with the distance",
    "deberta": "disentangled attention",
    "deberta-v2": "disentangled attention",
    "deepseek_v3": "a mixture of experts",
    "gemma": "a norm that adds one to its gain",
    "gemma2": "norms on both sides of a sublayer",
    "gpt_oss": "a mixture of experts",
    "longformer": "global tokens beside the band of attention",
    "mamba": "a state space in place of attention",
    "mixtral": "a mixture of experts",
    "mpt": "ALiBi, a bias of the scores that grows with the distance",
    "nanochat": "norms of queries and keys, and a limit on the logits",
    "opt": "a norm before and after the projections of its embeddings",
    "phi3": "one matrix for the gate and the map beside it",
    "qwen3": "norms of queries and keys",
    "qwen3_moe": "a mixture of experts",
    "switch_transformers": "a mixture of experts",
    "umt5": "a table of relative positions in every layer",
    "xlnet": "attention over permutations",
}


@functools.cache
def _all() -> dict[str, Architecture]:
    found: dict[str, Architecture] = {}
    for module in sorted(pkgutil.iter_modules(folder.__path__), key=lambda module: module.name):
        content = vars(importlib.import_module(f"{folder.__name__}.{module.name}"))
        found |= {a.model_type: a for a in content.values() if isinstance(a, Architecture)}
    return found


def architectures(family: type[TriptychBaseConfig] | None = None) -> list[Architecture]:
    """All that are known, or those of one family."""
    return [known for known in _all().values() if family in (None, known.config_class)]


def architecture(of: PreTrainedConfig | str) -> Architecture:
    """The one of a configuration, or of a `model_type`.

    Raises:
        CannotExpress: there is none; says why, or which there are.
    """
    model_type = of if isinstance(of, str) else of.model_type
    if model_type in _all():
        return _all()[model_type]
    if model_type in UNLIKE:
        raise CannotExpress(f"{model_type} has {UNLIKE[model_type]}: Triptych has no such thing")
    raise CannotExpress(f"no table for the architecture {model_type!r}; there are {', '.join(_all())}")
