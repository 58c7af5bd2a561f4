"""The encoder alone (BERT): the left half of Figure 1."""

from typing import Any

from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.import_utils import is_tracing

from ..configuration import TriptychEncoderConfig
from .documents import own_tokens
from .pooling import DenseLayer, first_position, take
from .stack import TransformerStack


class TriptychEncoderModel(TransformerStack):
    """The encoder without a head: every position sees every other.

    Args:
        add_pooling_layer: whether the body gets the pooler that `config.pooler` names, as in transformers' BertModel;
            heads over single tokens do without. A body that has none for good has `pooler="none"` in its
            configuration. Without a pooler, `pooler_output` is None.
    """

    config: TriptychEncoderConfig
    auto_classes = ("AutoModel", "AutoModelForTextEncoding")

    def __init__(self, config: TriptychEncoderConfig, add_pooling_layer: bool = True):
        super().__init__(config, config.num_hidden_layers, nn.Embedding(config.vocab_size, config.hidden_size))
        has_pooler = add_pooling_layer and config.pooler != "none"
        self.pooler = DenseLayer(config.hidden_size, config.pooler) if has_pooler else None
        self.post_init()

    def count_from_zero(self, position_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """As RoBERTa numbers them: the first is `first_position_id`, and padding has the number before it.

        Raises:
            ValueError: a token has a lower number, as if the first position were 0.
        """
        first = self.config.first_position_id
        if first and not is_tracing(position_ids):
            tokens = own_tokens(attention_mask, position_ids.shape[-1])
            seen = position_ids if tokens is None else position_ids.expand_as(tokens)[tokens.to(position_ids.device)]
            if (seen < first - 1).any():
                raise ValueError(
                    f"position_ids of this model start at first_position_id={first}, as those of the model that it "
                    f"was made from, got {seen.min().item()}; add {first} to each, or leave position_ids out"
                )
        return position_ids - first

    def output(self, hidden: Tensor, past_key_values: Cache | None, attention_mask: Tensor | None) -> Any:
        pooled = None if self.pooler is None else self.pooler(take(hidden, first_position(hidden, attention_mask)))
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=pooled)
