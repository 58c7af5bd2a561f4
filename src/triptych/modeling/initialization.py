"""How weights start. Every write goes through transformers' `initialization`, which spares loaded weights."""

import math

from torch import nn
from transformers import initialization as init

from ..configuration import TriptychBaseConfig


def normal(module: nn.Module, config: TriptychBaseConfig) -> None:
    """N(0, initializer_range²) everywhere, as BERT: already done by transformers."""


def depth_scaled(module: nn.Module, config: TriptychBaseConfig) -> None:
    """As `normal`, but what writes to the residual path is divided by √(sublayers): Radford et al. 2019, §2.3."""
    # A mark on the map itself: transformers visits no module of custom code that has no parameters of its own.
    if getattr(module, "writes_to_residual", False):
        init.normal_(module.weight, mean=0.0, std=config.initializer_range / math.sqrt(2 * config.num_hidden_layers))


def xavier(module: nn.Module, config: TriptychBaseConfig) -> None:
    """Glorot & Bengio 2010 for maps, N(0, 1/d_model) for embeddings, so that √d_model times one has unit variance."""
    if isinstance(module, nn.Linear):
        init.xavier_uniform_(module.weight)
    if isinstance(module, nn.Embedding):
        init.normal_(module.weight, mean=0.0, std=config.hidden_size**-0.5)


INITIALIZERS = {"normal": normal, "depth_scaled": depth_scaled, "xavier": xavier}
