"""Heads that read a text twice, through the encoder and through the decoder (BART; Lewis et al. 2020, section 3).

B batch, T positions, L labels, d residual width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_outputs import Seq2SeqQuestionAnsweringModelOutput, Seq2SeqSequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from ..configuration import TriptychConfig
from .encoder_decoder import TriptychModel, TwoSidedVocabulary, shift_right_as_configured
from .losses import sequence_loss, span_loss
from .pooling import build_classifier, first_position, last_position, take


class ReadTwice(TwoSidedVocabulary):
    """What the heads share: the source is the decoder's input, too, unless another is given."""

    config: TriptychConfig

    def __init__(self, config: TriptychConfig):
        super().__init__(config)
        if config.decoder_vocab_size is not None and not config.share_encoder_decoder_embeddings:
            raise ValueError(
                f"{type(self).__name__} gives the source to the decoder, too, so both need one vocabulary, got "
                f"decoder_vocab_size={config.decoder_vocab_size}; set it to None"
            )
        self.model = TriptychModel(config)

    def behind_start_token(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """The source one step to the right, the start token in the place of its first word: (B, T) → (B, T)."""
        shifted = shift_right_as_configured(self.config, input_ids)
        first = first_position(input_ids, attention_mask)
        return shifted.scatter(1, first[:, None], shifted[:, :1])

    def read(self, input_ids: Tensor | None, attention_mask: Tensor | None, **kwargs: Any) -> Any:
        """The body's outputs for a source (B, T), which the decoder reads behind its start token.

        Raises:
            ValueError: embeddings in place of ids, and no input of the decoder's own; or `past_key_values`.
        """
        if kwargs.pop("past_key_values", None) is not None:
            raise ValueError(
                f"{type(self).__name__} reads the whole source in both halves, so nothing can stand before it in "
                "past_key_values, which is what prefix tuning does; adapt it with LoRA or IA3"
            )
        if kwargs.get("decoder_input_ids") is None and kwargs.get("decoder_inputs_embeds") is None:
            if input_ids is None:
                raise ValueError(
                    f"{type(self).__name__} makes the decoder's input from input_ids; with inputs_embeds give "
                    "decoder_input_ids or decoder_inputs_embeds as well"
                )
            kwargs["decoder_input_ids"] = self.behind_start_token(input_ids, attention_mask)
            if kwargs.get("decoder_attention_mask") is None:
                kwargs["decoder_attention_mask"] = attention_mask
        return self.model(input_ids, attention_mask, **{"use_cache": False, **kwargs, "return_dict": True})


class TriptychForSequenceClassification(ReadTwice):
    """The encoder–decoder with a map from the decoder's state at the last end token to labels."""

    def __init__(self, config: TriptychConfig):
        super().__init__(config)
        self.dropout = nn.Dropout(config.classifier_dropout_rate)
        self.classifier = build_classifier(config)
        self.post_init()

    def end_token_position(self, hidden: Tensor, input_ids: Tensor | None, mask: Tensor | None) -> Tensor:
        """Where the last end token of each row stands, or its last token where only embeddings are known: (B,)."""
        if input_ids is None or self.config.eos_token_id is None:
            return last_position(hidden, mask)
        ends = torch.isin(input_ids, torch.as_tensor(self.config.eos_token_id, device=input_ids.device))
        if not torch.compiler.is_compiling() and not ends.any(dim=1).all():
            row = int(ends.any(dim=1).logical_not().nonzero()[0])
            raise ValueError(
                f"row {row} of input_ids has no end token (eos_token_id={self.config.eos_token_id}), whose state "
                "is classified; let the tokenizer add it"
            )
        return last_position(hidden, ends)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> Seq2SeqSequenceClassifierOutput:
        """See `TriptychModel.forward` for the inputs. `logits` are (B, L).

        Args:
            labels: (B,) classes, or (B, L) floats for several labels, or numbers for a regression.
            num_items_in_batch: by what the summed loss is divided; by default the number of labels in this batch.

        Raises:
            ValueError: a row without an end token; or `past_key_values`, as the source is read at once.
        """
        outputs = self.read(
            input_ids,
            attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            token_type_ids=token_type_ids,
            past_key_values=past_key_values,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        own_input = decoder_input_ids is not None or decoder_inputs_embeds is not None
        mask = decoder_attention_mask if own_input else attention_mask
        end = self.end_token_position(hidden, None if own_input else input_ids, mask)
        logits = self.classifier(self.dropout(take(hidden, end)))
        return Seq2SeqSequenceClassifierOutput(
            loss=None if labels is None else sequence_loss(self.config, logits, labels, num_items_in_batch),
            logits=logits,
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions,
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
        )


class TriptychForQuestionAnswering(ReadTwice):
    """The encoder–decoder with a map from every position of the decoder to the two ends of an answer."""

    def __init__(self, config: TriptychConfig):
        super().__init__(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> Seq2SeqQuestionAnsweringModelOutput:
        """See `TriptychModel.forward` for the inputs. `start_logits` and `end_logits` are (B, T).

        Args:
            start_positions, end_positions: (B,) first and last position of the answer; T or more: it was cut off.

        Raises:
            ValueError: `past_key_values`, as the source is read at once.
        """
        outputs = self.read(
            input_ids,
            attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            token_type_ids=token_type_ids,
            past_key_values=past_key_values,
            **kwargs,
        )
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = span_loss(start_logits, end_logits, start_positions, end_positions)
        return Seq2SeqQuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start_logits,
            end_logits=end_logits,
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions,
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
        )
