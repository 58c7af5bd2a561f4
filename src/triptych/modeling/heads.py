"""Heads over one stack, the encoder's or the decoder's: labels for a sequence, for each token, for a span, a choice.

A head is a body, a map and a loss. The maps have the names that peft and TRL look for: `classifier`, in decoders
`score`, and `qa_outputs`. B batch, T positions, C choices, L labels, P positions in the cache, d residual width.
"""

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_outputs import (
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from ..configuration import TriptychBaseConfig, TriptychDecoderConfig, TriptychEncoderConfig
from .base import TriptychPreTrainedModel
from .decoder import TriptychDecoderModel
from .documents import own_tokens
from .encoder import TriptychEncoderModel
from .losses import sequence_loss, span_loss, token_cross_entropy
from .pooling import DenseLayer, build_classifier, last_position, sequence_vector, take


class StackHead(TriptychPreTrainedModel):
    """What the heads share: the body, how it is asked, and the name of the map to labels."""

    map_name: ClassVar[str] = "classifier"

    def build_body(self, config: Any) -> TriptychPreTrainedModel:
        """The stack under the head."""
        raise NotImplementedError

    def __init__(self, config: TriptychBaseConfig):
        super().__init__(config)
        self.model = self.build_body(config)
        self.dropout = nn.Dropout(config.classifier_dropout_rate)

    def read(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        **kwargs: Any,
    ) -> Any:
        """The body's outputs. There is no next step, so nothing is kept for one, whatever the configuration says."""
        return self.model(
            input_ids,
            attention_mask,
            position_ids=position_ids,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            **{"use_cache": False, **kwargs, "return_dict": True},
        )

    def map_to_labels(self, x: Tensor) -> Tensor:
        """(…, d) → (…, L)"""
        logits: Tensor = getattr(self, self.map_name)(self.dropout(x))
        return logits


class SequenceClassification(StackHead):
    """A class, several labels or numbers for each sequence, as `config.problem_type` says."""

    classifier_bias = True

    def __init__(self, config: TriptychBaseConfig):
        super().__init__(config)
        setattr(self, self.map_name, build_classifier(config, self.classifier_bias))
        self.post_init()

    def represent(self, outputs: Any, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        """The vector that stands for each sequence: (B, d)."""
        raise NotImplementedError

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
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """See `TransformerStack.forward` for the inputs. `logits` are (B, L).

        Args:
            labels: (B,) classes, or (B, L) floats for several labels, or numbers for a regression.
            num_items_in_batch: by what the summed loss is divided; by default the number of labels in this batch.
            past_key_values: keys and values of P positions before these, as prefix tuning has them.
        """
        outputs = self.read(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            past_key_values=past_key_values,
            **kwargs,
        )
        logits = self.map_to_labels(self.represent(outputs, input_ids, attention_mask))
        loss = None if labels is None else sequence_loss(self.config, logits, labels, num_items_in_batch)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class TokenClassification(StackHead):
    """A class for each token: tagging, named entities."""

    def __init__(self, config: TriptychBaseConfig):
        super().__init__(config)
        setattr(self, self.map_name, nn.Linear(config.hidden_size, config.num_labels))
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
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        """See `TransformerStack.forward` for the inputs. `logits` are (B, T, L).

        Args:
            labels: (B, T) classes, -100 where none is asked for.
            num_items_in_batch: by what the summed loss is divided; by default the number of labels in this batch.
            past_key_values: keys and values of P positions before these, as prefix tuning has them.
        """
        outputs = self.read(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            past_key_values=past_key_values,
            **kwargs,
        )
        logits = self.map_to_labels(outputs.last_hidden_state)
        loss = None
        if labels is not None:
            loss = token_cross_entropy(logits, labels, num_items_in_batch=num_items_in_batch)
        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class QuestionAnswering(StackHead):
    """The span of the text that answers a question: a score for each token to be its first, and its last."""

    def __init__(self, config: TriptychBaseConfig):
        super().__init__(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> QuestionAnsweringModelOutput:
        """See `TransformerStack.forward` for the inputs. `start_logits` and `end_logits` are (B, T).

        Args:
            start_positions, end_positions: (B,) first and last position of the answer; T or more: it was cut off.
            past_key_values: keys and values of P positions before these, as prefix tuning has them.
        """
        outputs = self.read(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            past_key_values=past_key_values,
            **kwargs,
        )
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = span_loss(start_logits, end_logits, start_positions, end_positions)
        return QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start_logits,
            end_logits=end_logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class TriptychEncoderForSequenceClassification(SequenceClassification):
    """The encoder with a map from its pooled output to labels, as BERT.

    A head that has a dense layer of its own (`classifier_activation`) reads the first token, as RoBERTa's.
    """

    config: TriptychEncoderConfig

    def build_body(self, config: TriptychEncoderConfig) -> TriptychEncoderModel:
        return TriptychEncoderModel(config, add_pooling_layer=config.classifier_activation == "none")

    def represent(self, outputs: Any, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        return sequence_vector(outputs, attention_mask)


class TriptychEncoderForTokenClassification(TokenClassification):
    """The encoder with a map from every position to labels."""

    config: TriptychEncoderConfig

    def build_body(self, config: TriptychEncoderConfig) -> TriptychEncoderModel:
        return TriptychEncoderModel(config, add_pooling_layer=False)


class TriptychEncoderForQuestionAnswering(QuestionAnswering):
    """The encoder with a map from every position to the two ends of an answer."""

    config: TriptychEncoderConfig

    def build_body(self, config: TriptychEncoderConfig) -> TriptychEncoderModel:
        return TriptychEncoderModel(config, add_pooling_layer=False)


class TriptychEncoderForMultipleChoice(StackHead):
    """The encoder with a map from its pooled output to one score, compared between the choices of a question.

    Where the body has no pooler, the head has a dense layer of its own (`classifier_activation`; DistilBERT, ELECTRA).
    """

    config: TriptychEncoderConfig

    def __init__(self, config: TriptychEncoderConfig):
        super().__init__(config)
        own_layer = config.pooler == "none" and config.classifier_activation != "none"
        width, activation = config.hidden_size, config.classifier_activation
        self.pre_classifier = DenseLayer(width, activation) if own_layer else nn.Identity()
        self.classifier = nn.Linear(width, 1)
        self.post_init()

    def build_body(self, config: TriptychEncoderConfig) -> TriptychEncoderModel:
        return TriptychEncoderModel(config)

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
    ) -> MultipleChoiceModelOutput:
        """Every input has an axis of C choices after the batch, e.g. `input_ids` (B, C, T); `logits` are (B, C).

        Args:
            labels: (B,) the right choice, in [0, C).
            num_items_in_batch: by what the summed loss is divided; by default the number of labels in this batch.
        """
        given = input_ids if input_ids is not None else inputs_embeds
        if given is None:
            raise ValueError("give exactly one of input_ids and inputs_embeds")

        def rows(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.flatten(0, 1)

        mask = rows(attention_mask)
        outputs = self.read(rows(input_ids), mask, *map(rows, (token_type_ids, position_ids, inputs_embeds)), **kwargs)
        logits = self.map_to_labels(self.pre_classifier(sequence_vector(outputs, mask))).view(given.shape[:2])
        loss = None
        if labels is not None:
            loss = token_cross_entropy(logits, labels, num_items_in_batch=num_items_in_batch)
        return MultipleChoiceModelOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class TriptychDecoderForSequenceClassification(SequenceClassification):
    """The decoder with a map from its last position to labels."""

    config: TriptychDecoderConfig
    map_name = "score"
    classifier_bias = False  # as GPT-2's

    def build_body(self, config: TriptychDecoderConfig) -> TriptychDecoderModel:
        return TriptychDecoderModel(config)

    def represent(self, outputs: Any, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        hidden = outputs.last_hidden_state
        attended = own_tokens(attention_mask, hidden.shape[1])
        if attended is None and input_ids is not None and self.config.pad_token_id is not None:
            attended = input_ids != self.config.pad_token_id
        return take(hidden, last_position(hidden, attended))


class TriptychDecoderForTokenClassification(TokenClassification):
    """The decoder with a map from every position to labels."""

    config: TriptychDecoderConfig
    map_name = "score"

    def build_body(self, config: TriptychDecoderConfig) -> TriptychDecoderModel:
        return TriptychDecoderModel(config)


class TriptychDecoderForQuestionAnswering(QuestionAnswering):
    """The decoder with a map from every position to the two ends of an answer."""

    config: TriptychDecoderConfig

    def build_body(self, config: TriptychDecoderConfig) -> TriptychDecoderModel:
        return TriptychDecoderModel(config)
