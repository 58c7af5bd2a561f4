"""The encoder alone (BERT): the left half of Figure 1."""

from typing import Any

from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ..configuration import TriptychEncoderConfig
from .pooling import DenseLayer, first_token, take
from .stack import TransformerStack


class TriptychEncoderModel(TransformerStack):
    """The encoder without a head: every position sees every other.

    Args:
        add_pooling_layer: whether the body gets the pooler that `config.pooler` names, as in transformers' BertModel.
            Heads over single tokens need no pooler. A model that never has one has `pooler="none"` in its
            configuration. Without a pooler, `pooler_output` is None.
    """

    config: TriptychEncoderConfig
    auto_classes = ("AutoModel", "AutoModelForTextEncoding")

    def __init__(self, config: TriptychEncoderConfig, add_pooling_layer: bool = True):
        super().__init__(config, config.num_hidden_layers, nn.Embedding(config.vocab_size, config.hidden_size))
        has_pooler = add_pooling_layer and config.pooler != "none"
        self.pooler = DenseLayer(config.hidden_size, config.pooler) if has_pooler else None
        self.post_init()

    @property
    def first_position(self) -> int:  # type: ignore[override]
        """The number of the first position. RoBERTa counts from 2 and gives padding the number before, 1."""
        return self.config.first_position_id

    def output(self, hidden: Tensor, past_key_values: Cache | None, attention_mask: Any) -> Any:
        pooled = None if self.pooler is None else self.pooler(take(hidden, first_token(hidden, attention_mask)))
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=pooled)
