"""The architectures that can be converted: those whose table is in a module of architectures/."""

import functools
import importlib
import pkgutil

from transformers import PreTrainedConfig

from ..configuration import TriptychBaseConfig
from . import architectures as folder
from .table import Architecture, CannotExpress

# Architectures that cannot be converted, and what they have that no layer of Triptych has.
UNLIKE = {
    "albert": "all layers share one set of weights",
    "bloom": "ALiBi, a bias of the scores that grows with the distance",
    "deberta": "disentangled attention",
    "deberta-v2": "disentangled attention",
    "deepseek_v3": "a mixture of experts, and keys and values that pass through a narrow layer",
    "gemma": "a norm that adds one to its gain",
    "gemma2": "norms on both sides of a sublayer, and a limit on the scores",
    "gpt_oss": "a mixture of experts, and scores for no key at all",
    "led": "global tokens beside the band of attention",
    "longformer": "global tokens beside the band of attention",
    "longt5": "attention to a neighbourhood, and to summaries of what is outside it",
    "mamba": "a state space in place of attention",
    "mixtral": "a mixture of experts",
    "mpt": "ALiBi, a bias of the scores that grows with the distance",
    "nanochat": "norms of queries and keys, and a limit on the logits",
    "nllb-moe": "a mixture of experts",
    "qwen3": "norms of queries and keys",
    "qwen3_moe": "a mixture of experts",
    "switch_transformers": "a mixture of experts",
    "umt5": "a table of relative positions in every layer",
    "xlnet": "attention over permutations",
}


@functools.cache
def _all() -> dict[tuple[str, type[TriptychBaseConfig]], Architecture]:
    found: dict[tuple[str, type[TriptychBaseConfig]], Architecture] = {}
    for module in sorted(pkgutil.iter_modules(folder.__path__), key=lambda module: module.name):
        content = vars(importlib.import_module(f"{folder.__name__}.{module.name}"))
        found |= {(a.model_type, a.config_class): a for a in content.values() if isinstance(a, Architecture)}
    return found


def known_architectures(
    family: type[TriptychBaseConfig] | None = None, model_type: str | None = None
) -> list[Architecture]:
    """The architectures that can be converted: all, or those of one family or of one `model_type`.

    A `model_type` can have several: T5's has one for the encoder–decoder, and one for the encoder alone.
    """
    return [a for a in _all().values() if family in (None, a.config_class) and model_type in (None, a.model_type)]


def find_architecture(of: PreTrainedConfig | str, head: str | None = None) -> Architecture:
    """The architecture of a configuration or of a `model_type`.

    Args:
        head: a class of transformers. If the `model_type` has several architectures, it chooses the one that has it.

    Raises:
        CannotExpress: there is no such architecture, or none of them has the class; the message says why, or which
            ones there are.
    """
    model_type = of if isinstance(of, str) else of.model_type
    found = known_architectures(model_type=model_type)
    if not found and model_type in UNLIKE:
        raise CannotExpress(f"{model_type} has {UNLIKE[model_type]}: Triptych has no such thing")
    if not found:
        there_are = dict.fromkeys(a.model_type for a in _all().values())
        raise CannotExpress(
            f"there is no table for the architecture {model_type!r}; there are tables for {', '.join(there_are)}"
        )
    for known in found:
        if head is None or head in known.heads:
            return known
    heads = [name for known in found for name in known.heads]
    raise CannotExpress(
        f"{head} has no counterpart in Triptych; of {model_type}: {', '.join(heads)}. Load the checkpoint as one of "
        f"them, as in from_hf(transformers.{heads[0]}.from_pretrained(...))"
    )
