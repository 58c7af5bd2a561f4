"""The initial weights. All of them are written with transformers' `initialization`, which spares loaded weights."""

import math

from torch import nn
from transformers import initialization as init

from ..configuration import TriptychBaseConfig
from ..configuration.choices import INITIALIZER_CHOICES


def normal(module: nn.Module, config: TriptychBaseConfig) -> None:
    """N(0, initializer_range²) for all matrices, as in BERT. transformers has done this before."""


def depth_scaled(module: nn.Module, config: TriptychBaseConfig) -> None:
    """`normal`, but maps that write to the residual path are divided by √(sublayers): Radford et al. 2019, §2.3."""
    # The map itself carries the mark, because transformers skips modules of custom code that have no parameters.
    if getattr(module, "writes_to_residual", False):
        init.normal_(module.weight, mean=0.0, std=config.initializer_range / math.sqrt(2 * config.num_hidden_layers))


def xavier(module: nn.Module, config: TriptychBaseConfig) -> None:
    """Maps: Glorot and Bengio 2010. Embeddings: N(0, 1/d_model), so that √d_model · embedding has variance 1."""
    if isinstance(module, nn.Linear):
        init.xavier_uniform_(module.weight)
    if isinstance(module, nn.Embedding):
        init.normal_(module.weight, mean=0.0, std=config.hidden_size**-0.5)


# The dictionary by which the configuration checks the word: a new entry is also a new word of the field.
INITIALIZERS = INITIALIZER_CHOICES
INITIALIZERS |= {"normal": normal, "depth_scaled": depth_scaled, "xavier": xavier}
