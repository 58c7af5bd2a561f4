"""The encoder–decoder with a map to the target vocabulary: translation, summarisation, …"""

from typing import Any

from torch import Tensor
from transformers import Cache
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.utils.generic import can_return_tuple

from ..configuration import TriptychConfig
from .decoder_input import decoder_input
from .encoder_decoder import TriptychModel, source_tokens
from .generation import TriptychGenerationMixin
from .outputs import with_recorded
from .two_sided_vocabulary import TwoSidedVocabulary
from .vocabulary_head import VocabularyHead


class TriptychForConditionalGeneration(TriptychGenerationMixin, VocabularyHead, TwoSidedVocabulary):
    """The encoder–decoder with the linear map to the target vocabulary: translation, summarisation, …"""

    config: TriptychConfig
    auto_classes = ("AutoModelForSeq2SeqLM", "AutoModelForPreTraining")

    def __init__(self, config: TriptychConfig):
        super().__init__(config)
        self.model = TriptychModel(config)
        self.add_lm_head(config.target_vocab_size)
        if not config.share_encoder_decoder_embeddings:
            self._tied_weights_keys = {"lm_head.weight": "model.decoder_embed_tokens.weight"}
        self.post_init()

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The decoder's input for these labels; see `decoder_input`: (B, T) → (B, T).

        Raises:
            ValueError: the configuration has no `pad_token_id`, or lacks the `decoder_start_token_id` that it needs.
        """
        return decoder_input(self.config, labels)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        decoder_position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        document_ids: Tensor | None = None,
        decoder_document_ids: Tensor | None = None,
        skip_logits: bool = False,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """See `TriptychModel.forward` for the inputs.

        Args:
            labels: (B, T) target token ids, -100 at positions without a label. If the decoder's input is not given, it
                is made from the labels.
            num_items_in_batch: the number by which the summed loss is divided; by default the number of labels that
                count in this batch (see `count_items`).
            logits_to_keep: the number of last positions whose logits are computed (0: all), or these positions; see
                `keep_positions`.
            skip_logits: whether only the loss is computed; then `logits` is None.
        """
        source = {"attention_mask": attention_mask, "position_ids": position_ids, "document_ids": document_ids}
        target = {
            "attention_mask": decoder_attention_mask,
            "position_ids": decoder_position_ids,
            "document_ids": decoder_document_ids,
            "cache": past_key_values,
        }
        layouts = None
        if labels is not None:
            use_cache = bool(use_cache)  # training needs no cache, whatever the configuration says
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                read = source_tokens(input_ids, inputs_embeds, encoder_outputs)
                layouts = self.model.lay_out(read, source, labels, target, kwargs)
                decoder_input_ids = decoder_input(self.config, labels, layouts[1].documents)
        outputs = self.model(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            position_ids=position_ids,
            decoder_position_ids=decoder_position_ids,
            token_type_ids=token_type_ids,
            use_cache=use_cache,
            document_ids=document_ids,
            decoder_document_ids=decoder_document_ids,
            layouts=layouts,
            return_dict=True,
            **kwargs,
        )
        logits, loss = self.logits_and_loss(
            outputs.last_hidden_state, labels, num_items_in_batch, logits_to_keep, skip_logits
        )
        return with_recorded(Seq2SeqLMOutput, outputs, loss=loss, logits=logits)
