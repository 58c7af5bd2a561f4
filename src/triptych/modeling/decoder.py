"""The decoder alone (GPT): the right half of Figure 1 without its memory, and its head."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from ..configuration import TriptychDecoderConfig
from .generation import TriptychGenerationMixin
from .labels import count_labels, next_token_labels
from .lookup import given
from .outputs import with_recorded
from .stack import TransformerStack
from .vocabulary_head import VocabularyHead


class TriptychDecoderModel(TransformerStack):
    """The decoder without a head: every position sees itself and those before it."""

    config: TriptychDecoderConfig
    auto_classes = ("AutoModel",)
    is_causal = True

    def __init__(self, config: TriptychDecoderConfig):
        super().__init__(config, config.num_hidden_layers, nn.Embedding(config.vocab_size, config.hidden_size))
        self.post_init()

    @property
    def depth(self) -> int:
        return self.config.num_hidden_layers  # while early exit drafts, this is less than the number of all layers


class TriptychDecoderForCausalLM(TriptychGenerationMixin, VocabularyHead):
    """The decoder with the linear map to the vocabulary: language modelling."""

    config: TriptychDecoderConfig
    auto_classes = ("AutoModelForCausalLM", "AutoModelForPreTraining")

    def __init__(self, config: TriptychDecoderConfig):
        super().__init__(config)
        self.model = TriptychDecoderModel(config)
        self.add_lm_head(config.vocab_size)
        self.post_init()

    def count_items(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Extends `TriptychPreTrainedModel.count_items`: no position has to predict the first token of a document."""
        shift_labels = inputs.get("shift_labels")
        if shift_labels is None:
            tokens = given(input_ids=inputs.get("input_ids"), inputs_embeds=inputs.get("inputs_embeds"))
            said = {name: inputs.get(name) for name in ("attention_mask", "position_ids", "document_ids")}
            layout = self.model.layout_of(tokens, arguments=dict(inputs), **said)
            shift_labels = next_token_labels(inputs["labels"], layout.documents)
        return {"num_items_in_batch": count_labels(shift_labels)}

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
        skip_logits: bool = False,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """See `TransformerStack.forward` for the inputs.

        Args:
            labels: (B, T) the same tokens as `input_ids`, or -100 for tokens that need not be predicted. Position t
                predicts the label at t + 1, if it belongs to the same document. If `shift_labels` are given instead,
                position t predicts the label at t.
            num_items_in_batch: the number by which the summed loss is divided; by default the number of labels that
                count in this batch (see `count_items`).
            logits_to_keep: the number of last positions whose logits are computed (0: all), or these positions; see
                `keep_positions`.
            skip_logits: whether only the loss is computed; then `logits` is None.
        """
        # shift_labels is not a parameter, because Trainer computes no loss in evaluation unless the data has every
        # parameter whose name contains "label".
        shift_labels: Tensor | None = kwargs.pop("shift_labels", None)
        tokens = given(input_ids=input_ids, inputs_embeds=inputs_embeds)
        layout = self.model.layout_of(
            tokens,
            cache=past_key_values,
            arguments=kwargs,
            attention_mask=attention_mask,
            position_ids=position_ids,
            document_ids=document_ids,
        )
        if labels is not None and shift_labels is None:
            shift_labels = next_token_labels(labels, layout.documents)
        if shift_labels is not None:
            use_cache = bool(use_cache)  # training needs no cache, whatever the configuration says
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
        logits, loss = self.logits_and_loss(
            outputs.last_hidden_state, shift_labels, num_items_in_batch, logits_to_keep, skip_logits
        )
        return with_recorded(CausalLMOutputWithPast, outputs, loss=loss, logits=logits)
