"""The encoder alone (BERT): the left half of Figure 1, and its head."""

from typing import Any

from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_outputs import MaskedLMOutput
from transformers.utils.generic import can_return_tuple

from ..configuration import TriptychEncoderConfig
from .base import TriptychPreTrainedModel
from .losses import token_cross_entropy
from .residual import build_norm
from .stack import TransformerStack


class TriptychEncoderModel(TransformerStack):
    """The encoder without a head: every position sees every other."""

    config: TriptychEncoderConfig

    def __init__(self, config: TriptychEncoderConfig):
        super().__init__(config, config.num_hidden_layers)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()


class PredictionTransform(nn.Module):
    """BERT's dense layer, activation and norm before the map to the vocabulary. (B, T, d) → (B, T, d)"""

    def __init__(self, config: TriptychEncoderConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation, self.norm = ACT2FN[config.activation], build_norm(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.activation(self.dense(x)))


class TriptychEncoderForMaskedLM(TriptychPreTrainedModel):
    """The encoder with BERT's head for masked language modelling (Devlin et al. 2018, section 3.1)."""

    config: TriptychEncoderConfig
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: TriptychEncoderConfig):
        super().__init__(config)
        self.model = TriptychEncoderModel(config)
        self.transform = PredictionTransform(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=config.head_bias)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """See `TransformerStack.forward` for the inputs.

        Args:
            labels: (B, T) the tokens behind the masks, -100 everywhere else.
            num_items_in_batch: by what the summed loss is divided; by default the number of labels in this batch.
        """
        outputs = self.model(
            input_ids,
            attention_mask,
            position_ids=position_ids,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        logits = self.lm_head(self.transform(outputs.last_hidden_state) * self.config.logit_scale)
        loss = None
        if labels is not None:
            loss = token_cross_entropy(logits, labels, self.config.label_smoothing, num_items_in_batch)
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )
