"""Two texts in one row of tokens, for the models that read pairs."""

from typing import Any

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ..conversion.limits import UNLIMITED, position_limit
from ..data.quantities import counted


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, first: str, second: str, truncation: bool
) -> dict[str, Any]:
    """The inputs of a model for two texts: tensors of shape (1, tokens).

    Args:
        truncation: cut the first text where the pair is too long, instead of an error.

    Raises:
        ValueError: the pair is too long, or the second text alone is.
    """
    limits = [position_limit(config, side) for side in ("encoder", "decoder")]
    limit = min([tokenizer.model_max_length, *(limit for limit in limits if limit is not None)])
    cut = {"truncation": "only_first", "max_length": limit} if truncation and limit < UNLIMITED else {}
    encoded = tokenizer(first, second, return_tensors="pt", verbose=False, **cut)
    length = encoded["input_ids"].shape[-1]
    if length > limit:
        raise ValueError(
            f"the pair {first!r:.40}, {second!r:.40} has {counted(length, 'tokens')}, the model takes {limit:,}: "
            "shorten it, or pass truncation=True to use the beginning of the first text only"
        )
    return dict(encoded)
