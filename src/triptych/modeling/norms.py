"""Normalisation over the residual stream, chosen by one word of the configuration."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..configuration import TriptychBaseConfig
from ..configuration.choices import NORM_CHOICES


class RMSNorm(nn.RMSNorm):
    """Extends torch's class: x is rounded to half precision before weights of that precision, as in T5 and Llama.

    Source: Zhang and Sennrich 2019, equation (4).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(…, d) → (…, d)"""
        if self.weight.dtype == torch.float32:
            return super().forward(x)
        return F.rms_norm(x, self.normalized_shape, eps=self.eps).to(self.weight.dtype) * self.weight


# The dictionary by which the configuration checks the word: a new entry is also a new word of the field.
NORMS = NORM_CHOICES
NORMS |= {
    "layer": lambda config: nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.norm_bias),
    "rms": lambda config: RMSNorm(config.hidden_size, eps=config.norm_eps),
}


def build_norm(config: TriptychBaseConfig) -> nn.Module:
    """The configured normalisation over d_model."""
    return NORMS[config.norm](config)
