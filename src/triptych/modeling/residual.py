"""The residual path: the order of norms, sublayers and additions in a layer.

Every path is a function of a layer, its input x (B, T, d), and `run`, which calls a sublayer by its name and applies
dropout to its output. A layer lists its `sublayers` in the order of Figure 1. Its `norms` hold one norm for each
sublayer, or one norm for all.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from ..configuration.choices import RESIDUAL_CHOICES

Run = Callable[[str, Tensor], Tensor]
SHARED_NORM = "shared"  # the name of the norm if all sublayers of a layer share one


def post_norm(layer: Any, x: Tensor, run: Run) -> Tensor:
    """LayerNorm(x + Sublayer(x)): section 3.1."""
    for name in layer.sublayers:
        x = layer.norms[name](x + run(name, x))
    return x


def pre_norm(layer: Any, x: Tensor, run: Run) -> Tensor:
    """x + Sublayer(LayerNorm(x)): Xiong et al. 2020, figure 1(b)."""
    for name in layer.sublayers:
        # limit_sum cuts what float16 cannot hold in models like T5; elsewhere it is the identity.
        x = layer.limit_sum(x + run(name, layer.norms[name](x)))
    return x


def parallel(layer: Any, x: Tensor, run: Run) -> Tensor:
    """x + Attention(LayerNorm(x)) + FFN(LayerNorm(x)), one norm for all: GPT-J; Chowdhery et al. 2022, section 2."""
    h = layer.norms[SHARED_NORM](x)
    return x + sum(run(name, h) for name in layer.sublayers)


def parallel_norms(layer: Any, x: Tensor, run: Run) -> Tensor:
    """x + Attention(LayerNorm₁(x)) + FFN(LayerNorm₂(x)), a norm for each: GPT-NeoX; Black et al. 2022, section 2.1."""
    return x + sum(run(name, layer.norms[name](x)) for name in layer.sublayers)


class ResidualPath(NamedTuple):
    """A residual path, and the norms that it needs.

    Args:
        add: the function that adds the outputs of all sublayers to x.
        shares_norm: whether all sublayers of a layer share one norm. If not, each sublayer has one.
        ends_with_norm: whether each layer ends with a norm. If not, the stack has a norm at its end.
    """

    add: Callable[[Any, Tensor, Run], Tensor]
    shares_norm: bool = False
    ends_with_norm: bool = False


# The dictionary by which the configuration checks the word: a new entry is also a new word of the field.
RESIDUALS = RESIDUAL_CHOICES
RESIDUALS |= {
    "post": ResidualPath(post_norm, ends_with_norm=True),
    "pre": ResidualPath(pre_norm),
    "parallel": ResidualPath(parallel, shares_norm=True),
    "parallel_norms": ResidualPath(parallel_norms),
}
