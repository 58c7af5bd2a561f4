"""From the vectors of the tokens to one vector of the text, and how alike two vectors are.

The words of both tables are those of sentence-transformers, and so are the formulas
(`sentence_transformers/sentence_transformer/modules/pooling.py` and `sentence_transformers/util/similarity.py`).

Shapes: B texts, T tokens, d width; M and N vectors.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...modeling.pooling import first_token, last_token, take


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of the tokens."""
    return weighted_sum(hidden, mask) / count(mask)


def mean_by_root(hidden: Tensor, mask: Tensor) -> Tensor:
    """The sum of the tokens, divided by the square root of their number."""
    return weighted_sum(hidden, mask) / count(mask).sqrt()


def weighted_mean(hidden: Tensor, mask: Tensor, places: Tensor) -> Tensor:
    """The mean in which the n-th token counts n times (SGPT, Muennighoff 2022), for decoders."""
    weights = mask * places
    return weighted_sum(hidden, weights) / count(weights)


def largest(hidden: Tensor, mask: Tensor) -> Tensor:
    """The greatest value of each channel."""
    return hidden.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)


def weighted_sum(hidden: Tensor, weights: Tensor) -> Tensor:
    """(B, T, d), (B, T) → (B, d)"""
    return (hidden * weights[..., None]).sum(1)


def count(weights: Tensor) -> Tensor:
    """The sum of the weights of each text, (B, T) → (B, 1); never 0, so that it can divide."""
    return weights.sum(1, keepdim=True).clamp(min=1e-9)


# A word → a function of the vectors (B, T, d), of the mask of the pooled tokens (B, T), and of the place of each token
# in its text, from 1 (B, T); the result is (B, d).
POOLINGS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mean": lambda hidden, mask, places: mean(hidden, mask),
    "cls": lambda hidden, mask, places: take(hidden, first_token(hidden, mask)),
    "lasttoken": lambda hidden, mask, places: take(hidden, last_token(hidden, mask)),
    "max": lambda hidden, mask, places: largest(hidden, mask),
    "mean_sqrt_len_tokens": lambda hidden, mask, places: mean_by_root(hidden, mask),
    "weightedmean": weighted_mean,
}

# A word → how alike each of M vectors is to each of N vectors: (M, d), (N, d) → (M, N), the greater the more.
SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": lambda first, second: normalize(first, dim=-1) @ normalize(second, dim=-1).mT,
    "dot": lambda first, second: first @ second.mT,
    "euclidean": lambda first, second: -torch.cdist(first, second),
    "manhattan": lambda first, second: -torch.cdist(first, second, p=1),
}


def pool(hidden: Tensor, mask: Tensor, words: Sequence[str], left_out: int = 0) -> Tensor:
    """One vector for each text: (B, T, d), mask (B, T) → float32 of shape (B, d · words).

    Args:
        words: names in `POOLINGS`; the results of several stand one behind the other.
        left_out: how many tokens at the beginning of each text are not pooled: those of a prompt.
    """
    hidden, mask = hidden.float(), mask.to(hidden.device).float()
    places = mask.cumsum(1)
    kept = mask * (places > left_out)
    return torch.cat([POOLINGS[word](hidden, kept, places) for word in words], dim=-1)


def check_word(word: object, table: Mapping[str, Any], of: str) -> str:
    """`word`, if the table has it.

    Raises:
        ValueError: the table does not have it.
    """
    if not isinstance(word, str) or word not in table:
        raise ValueError(f"{of} {word!r} is unknown; known are: {', '.join(table)}")
    return word
