"""The decoder alone (GPT): the right half of Figure 1 without its memory, and its head."""

from typing import Any

from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from ..configuration import TriptychDecoderConfig
from .base import TriptychPreTrainedModel
from .generation import TriptychGenerationMixin
from .layout import lay_out
from .lookup import given
from .losses import next_token_labels
from .stack import TransformerStack, keep_positions


class TriptychDecoderModel(TransformerStack):
    """The decoder without a head: every position sees itself and those before it."""

    config: TriptychDecoderConfig
    is_causal = True

    def __init__(self, config: TriptychDecoderConfig):
        super().__init__(config, config.num_hidden_layers, nn.Embedding(config.vocab_size, config.hidden_size))
        self.post_init()

    @property
    def depth(self) -> int:
        return self.config.num_hidden_layers  # fewer than there are, while early exit drafts


class TriptychDecoderForCausalLM(TriptychGenerationMixin, TriptychPreTrainedModel):
    """The decoder with the linear map to the vocabulary: language modelling."""

    config: TriptychDecoderConfig
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: TriptychDecoderConfig):
        super().__init__(config)
        self.model = TriptychDecoderModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=config.head_bias)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        document_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """See `TransformerStack.forward` for the inputs.

        Args:
            labels: (B, T) the same tokens as `input_ids`, -100 where none is asked for: position t is asked for the
                label at t + 1, unless that belongs to another document. `shift_labels` are shifted already.
            num_items_in_batch: by what the summed loss is divided; by default the number of labels in this batch.
            logits_to_keep: compute only the last so many logits (0: all), or those at the given positions.
        """
        # No parameter of its own: Trainer evaluates no loss on data without one of the parameters named after labels.
        shift_labels: Tensor | None = kwargs.pop("shift_labels", None)
        tokens = given(input_ids=input_ids, inputs_embeds=inputs_embeds)
        said = {"attention_mask": attention_mask, "position_ids": position_ids, "document_ids": document_ids}
        (layout,) = lay_out(self.model.side(tokens, cache=past_key_values, arguments=kwargs, **said))
        if labels is not None and shift_labels is None:
            shift_labels = next_token_labels(labels, layout.documents)
        if shift_labels is not None:
            use_cache = bool(use_cache)  # training wants none, whatever the configuration says
        outputs = self.model(
            input_ids,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            use_cache=use_cache,
            layout=layout,
            return_dict=True,
            **kwargs,
        )
        hidden = keep_positions(outputs.last_hidden_state, logits_to_keep)
        logits = self.lm_head(hidden * self.config.logit_scale)
        loss = None
        if shift_labels is not None:
            loss = self.token_loss(logits, shift_labels, num_items_in_batch)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
