"""From pairs of sentences, in files or in the shipped corpus, to the batches of tokens of each update.

Each name is imported at its first use, so that importing this package does not import `datasets`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batches import DatasetBatches as DatasetBatches
    from .batches import StreamBatches as StreamBatches
    from .batching import Division as Division
    from .batching import TokenBudgetBatchSampler as TokenBudgetBatchSampler
    from .batching import shard as shard
    from .collators import PaddingCollator as PaddingCollator
    from .collators import TranslationCollator as TranslationCollator
    from .copies import add_copies as add_copies
    from .corpus import available_corpora as available_corpora
    from .corpus import load_corpus as load_corpus
    from .objectives.causal import CausalLMCollator as CausalLMCollator
    from .objectives.masked import MaskedLMCollator as MaskedLMCollator
    from .pairs import load_pairs as load_pairs
    from .tokenize import tokenize_pairs as tokenize_pairs

MODULES = {
    "CausalLMCollator": "objectives.causal",
    "DatasetBatches": "batches",
    "Division": "batching",
    "MaskedLMCollator": "objectives.masked",
    "PaddingCollator": "collators",
    "StreamBatches": "batches",
    "TokenBudgetBatchSampler": "batching",
    "TranslationCollator": "collators",
    "add_copies": "copies",
    "available_corpora": "corpus",
    "load_corpus": "corpus",
    "load_pairs": "pairs",
    "shard": "batching",
    "tokenize_pairs": "tokenize",
}
__all__ = list(MODULES)


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *MODULES])
