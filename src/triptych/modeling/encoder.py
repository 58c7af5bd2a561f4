"""The encoder alone (BERT): the left half of Figure 1."""

from typing import Any

from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ..configuration import TriptychEncoderConfig
from .pooling import build_pooler, first_position, take
from .stack import TransformerStack


class TriptychEncoderModel(TransformerStack):
    """The encoder without a head: every position sees every other.

    Args:
        add_pooling_layer: whether `pooler_output` is computed; heads over single tokens do without.
    """

    config: TriptychEncoderConfig

    def __init__(self, config: TriptychEncoderConfig, add_pooling_layer: bool = True):
        super().__init__(config, config.num_hidden_layers)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.pooler = build_pooler(config) if add_pooling_layer else None
        self.post_init()

    def output(self, hidden: Tensor, past_key_values: Cache | None, attention_mask: Tensor | None) -> Any:
        pooled = None if self.pooler is None else self.pooler(take(hidden, first_position(hidden, attention_mask)))
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=pooled)
