"""Norms, and the path around the sublayers: where the norm stands relative to the residual connection."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..configuration import TriptychBaseConfig
from .precision import bounded

Sublayers = dict[str, Callable[[Tensor], Tensor]]


class RMSNorm(nn.RMSNorm):
    """torch's; weights of half precision multiply what has been rounded to their dtype, as in T5 and Llama."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.dtype == torch.float32:
            return super().forward(x)
        return F.rms_norm(x, self.normalized_shape, eps=self.eps).to(self.weight.dtype) * self.weight


NORMS = {
    "layer": lambda config: nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.norm_bias),
    "rms": lambda config: RMSNorm(config.hidden_size, eps=config.norm_eps),
}


def build_norm(config: TriptychBaseConfig) -> nn.Module:
    """The configured normalisation over d_model."""
    return NORMS[config.norm](config)


class PostNorm(nn.Module):
    """LayerNorm(x + Sublayer(x)): section 3.1."""

    def __init__(self, config: TriptychBaseConfig, sublayers: Iterable[str]):
        super().__init__()
        self.norms = nn.ModuleDict({name: build_norm(config) for name in sublayers})
        self.dropout = nn.Dropout(config.dropout)
        self.outgrows_float16 = config.outgrows_float16

    def forward(self, x: Tensor, sublayers: Sublayers) -> Tensor:
        for name, sublayer in sublayers.items():
            x = self.norms[name](x + self.dropout(sublayer(x)))
        return x


class PreNorm(PostNorm):
    """x + Sublayer(LayerNorm(x)): Xiong et al. 2020, figure 1(b)."""

    def forward(self, x: Tensor, sublayers: Sublayers) -> Tensor:
        for name, sublayer in sublayers.items():
            x = x + self.dropout(sublayer(self.norms[name](x)))
            if self.outgrows_float16:
                x = bounded(x, always=False)
        return x


class Parallel(nn.Module):
    """x + Attention(LayerNorm(x)) + FFN(LayerNorm(x)), one norm for all: GPT-J; Chowdhery et al. 2022, section 2."""

    def __init__(self, config: TriptychBaseConfig, sublayers: Iterable[str]):
        super().__init__()
        self.norm = build_norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, sublayers: Sublayers) -> Tensor:
        h = self.norm(x)
        return x + sum(self.dropout(sublayer(h)) for sublayer in sublayers.values())


class ParallelNorms(PostNorm):
    """x + Attention(LayerNorm₁(x)) + FFN(LayerNorm₂(x)), a norm for each: GPT-NeoX; Black et al. 2022, section 2.1."""

    def forward(self, x: Tensor, sublayers: Sublayers) -> Tensor:
        return x + sum(self.dropout(sublayer(self.norms[name](x))) for name, sublayer in sublayers.items())


RESIDUALS = {"post": PostNorm, "pre": PreNorm, "parallel": Parallel, "parallel_norms": ParallelNorms}

# Post-norm ends every layer with a norm; the others leave the sum of all sublayers, which wants one at the end.
FINAL_NORMS = {
    "post": lambda config: nn.Identity(),
    "pre": build_norm,
    "parallel": build_norm,
    "parallel_norms": build_norm,
}
