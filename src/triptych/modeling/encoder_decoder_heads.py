"""Heads that read a text twice, with the encoder and with the decoder (BART; Lewis et al. 2020, section 3).

Shapes: B batch, T positions, L labels, d residual width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_outputs import Seq2SeqQuestionAnsweringModelOutput, Seq2SeqSequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from ..configuration import TriptychConfig
from .decoder_input import shift_right_as_configured
from .encoder_decoder import TriptychModel, source_tokens
from .heads import Inputs
from .layout import check_one_document
from .lookup import given
from .losses import count_sequence_labels, sequence_loss
from .outputs import with_recorded
from .pooling import build_classifier, first_token, last_token, take
from .span_head import SpanHead
from .two_sided_vocabulary import TwoSidedVocabulary


class ReadTwice(TwoSidedVocabulary):
    """An encoder–decoder whose decoder also reads the source, unless it is given another input."""

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
        """The source, shifted right by one, with the start token in the place of its first token: (B, T) → (B, T)."""
        shifted = shift_right_as_configured(self.config, input_ids)
        first = first_token(input_ids, attention_mask)
        return shifted.scatter(1, first[:, None], shifted[:, :1])

    def has_source_as_target(self, inputs: Mapping[str, Any]) -> bool:
        """Whether the decoder reads the source, because it is given no other input."""
        return inputs.get("decoder_input_ids") is None and inputs.get("decoder_inputs_embeds") is None

    def target_mask(self, inputs: Mapping[str, Any]) -> Tensor | None:
        """The attention mask of what the decoder reads: (B, T), or None where nothing is masked."""
        name = "attention_mask" if self.has_source_as_target(inputs) else "decoder_attention_mask"
        mask: Tensor | None = inputs.get(name)
        return mask

    def read(self, inputs: Inputs, past_key_values: Cache | None, **kwargs: Any) -> Any:
        """The outputs of the body for a source (B, T). The decoder reads the source behind a start token.

        Raises:
            ValueError: the source is given as embeddings and the decoder has no input; `past_key_values` are given;
                or a row holds several documents.
        """
        if past_key_values is not None:
            raise ValueError(
                f"{type(self).__name__} reads the whole source in encoder and decoder, so it takes no "
                "past_key_values, which prefix tuning gives; adapt it with LoRA or IA3"
            )
        if self.has_source_as_target(inputs):
            input_ids, attention_mask = inputs["input_ids"], inputs["attention_mask"]
            if input_ids is None:
                raise ValueError(
                    f"{type(self).__name__} makes the decoder's input from input_ids; with inputs_embeds give "
                    "decoder_input_ids or decoder_inputs_embeds as well"
                )
            inputs = {**inputs, "decoder_input_ids": self.behind_start_token(input_ids, attention_mask)}
            if inputs["decoder_attention_mask"] is None:
                inputs["decoder_attention_mask"] = attention_mask
        source = {name: kwargs.pop(name, None) for name in ("position_ids", "document_ids")}
        target = {name: kwargs.pop(f"decoder_{name}", None) for name in ("position_ids", "document_ids")}
        source["attention_mask"], target["attention_mask"] = inputs["attention_mask"], inputs["decoder_attention_mask"]
        tokens = source_tokens(inputs["input_ids"], inputs["inputs_embeds"], kwargs.get("encoder_outputs"))
        names = ("decoder_input_ids", "decoder_inputs_embeds")
        layouts = self.model.lay_out(tokens, source, given(**{n: inputs[n] for n in names}), target, kwargs)
        check_one_document(type(self).__name__, *layouts)
        return self.model(**inputs, layouts=layouts, **{"use_cache": False, **kwargs, "return_dict": True})


class TriptychForSequenceClassification(ReadTwice):
    """The encoder–decoder with a map from the decoder's state at the last end token to labels."""

    config: TriptychConfig
    auto_classes = ("AutoModelForSequenceClassification",)

    def __init__(self, config: TriptychConfig):
        super().__init__(config)
        self.dropout = nn.Dropout(config.classifier_dropout_rate)
        self.classifier = build_classifier(config)
        self.post_init()

    def count_items(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Extends `TriptychPreTrainedModel.count_items`: see `count_sequence_labels`."""
        return {"num_items_in_batch": count_sequence_labels(self.config, inputs["labels"])}

    def end_token_position(self, hidden: Tensor, inputs: Inputs) -> Tensor:
        """The position of each row's last end token, or of its last token where only embeddings are known: (B,).

        Raises:
            ValueError: a row has no end token.
        """
        input_ids = inputs["input_ids"] if self.has_source_as_target(inputs) else None
        if input_ids is None or self.config.eos_token_id is None:
            return last_token(hidden, self.target_mask(inputs))
        ends = torch.isin(input_ids, torch.as_tensor(self.config.eos_token_id, device=input_ids.device))
        if not torch.compiler.is_compiling() and not ends.any(dim=1).all():
            row = int(ends.any(dim=1).logical_not().nonzero()[0])
            raise ValueError(
                f"row {row} of input_ids has no end token (eos_token_id={self.config.eos_token_id}), whose state "
                "is classified; let the tokenizer add it"
            )
        return last_token(hidden, ends)

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
            labels: (B,) classes; or (B, L) of floats for several labels; or numbers for regression, (B, L), or (B,)
                where L = 1.
            num_items_in_batch: the number by which the summed loss is divided; by default the number of labels that
                count in this batch (see `count_items`).

        Raises:
            ValueError: a row has no end token; or `past_key_values` are given, although the source is read at once.
        """
        inputs: Inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "decoder_input_ids": decoder_input_ids,
            "decoder_attention_mask": decoder_attention_mask,
            "inputs_embeds": inputs_embeds,
            "decoder_inputs_embeds": decoder_inputs_embeds,
            "token_type_ids": token_type_ids,
        }
        outputs = self.read(inputs, past_key_values, encoder_outputs=encoder_outputs, **kwargs)
        hidden = outputs.last_hidden_state
        logits = self.classifier(self.dropout(take(hidden, self.end_token_position(hidden, inputs))))
        loss = None if labels is None else sequence_loss(self.config, logits, labels, num_items_in_batch)
        return with_recorded(Seq2SeqSequenceClassifierOutput, outputs, loss=loss, logits=logits)


class TriptychForQuestionAnswering(SpanHead, ReadTwice):
    """The encoder–decoder with a map from every position of the decoder to the two ends of an answer."""

    config: TriptychConfig
    auto_classes = ("AutoModelForQuestionAnswering",)
    output_class = Seq2SeqQuestionAnsweringModelOutput

    def __init__(self, config: TriptychConfig):
        super().__init__(config)
        self.add_span_map()
        self.post_init()

    def answered(self, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        names = ("input_ids",) if self.has_source_as_target(inputs) else ("decoder_input_ids", "decoder_inputs_embeds")
        return given(**{name: inputs.get(name) for name in names}), self.target_mask(inputs)

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
        num_items_in_batch: Tensor | int | None = None,
        num_ends_in_batch: Tensor | int | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> Seq2SeqQuestionAnsweringModelOutput:
        """See `TriptychModel.forward` for the inputs. `start_logits` and `end_logits` are (B, T).

        Args:
            start_positions, end_positions: (B,) first and last position of the answer. A position beyond the row, or
                on a masked token, belongs to an answer that was cut off, and does not count.
            num_items_in_batch, num_ends_in_batch: the numbers by which the summed losses of the first and of the last
                positions are divided; by default how many of each count in this batch (see `count_items`).

        Raises:
            ValueError: `past_key_values` are given, although the source is read at once.
        """
        inputs: Inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "decoder_input_ids": decoder_input_ids,
            "decoder_attention_mask": decoder_attention_mask,
            "inputs_embeds": inputs_embeds,
            "decoder_inputs_embeds": decoder_inputs_embeds,
            "token_type_ids": token_type_ids,
        }
        outputs = self.read(inputs, past_key_values, encoder_outputs=encoder_outputs, **kwargs)
        ends, numbers = (start_positions, end_positions), (num_items_in_batch, num_ends_in_batch)
        return self.span_output(outputs, inputs, ends, numbers)
