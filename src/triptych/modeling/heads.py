"""Heads over one stack, an encoder or a decoder: labels for a sequence, for each token, for a span or for a choice.

A head consists of a body, a map and a loss. PEFT and TRL find the maps by their names: `classifier` in encoders,
`score` in decoders, and `qa_outputs`.

Shapes: B batch, T positions, C choices, L labels, P positions in the cache, d residual width.
"""

from collections.abc import Mapping
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
from .layout import check_one_document
from .lookup import given
from .losses import count_sequence_labels, sequence_loss, token_cross_entropy
from .outputs import with_recorded
from .pooling import DenseLayer, build_classifier, last_token, sequence_vector, take
from .span_head import SpanHead

Inputs = dict[str, Tensor | None]  # the arguments of a body's forward


class StackHead(TriptychPreTrainedModel):
    """A body, a map from its hidden states to labels, and the loss of these labels.

    A new head builds its body (`build_body`) and creates its map in `__init__`. The defaults are those of a head that
    gives a class to each token. A head that differs overrides the vectors that are mapped (`represent`), the loss
    (`label_loss`), or the number of items over which the loss is a mean (`count_items`).
    """

    map_name: ClassVar[str] = "classifier"
    output_class: ClassVar[Any] = TokenClassifierOutput
    reads_rows: ClassVar[bool] = False  # whether the head gives one answer for a row, which then is one document

    def build_body(self, config: Any) -> TriptychPreTrainedModel:
        """The stack under the head."""
        raise NotImplementedError

    def __init__(self, config: TriptychBaseConfig):
        super().__init__(config)
        self.model = self.build_body(config)
        self.dropout = nn.Dropout(config.classifier_dropout_rate)

    def read(self, inputs: Inputs, **kwargs: Any) -> Any:
        """The outputs of the body. No cache is kept, whatever the configuration says, because no step follows.

        Raises:
            ValueError: a row holds several documents, and the head gives one answer for a row.
        """
        tokens = given(input_ids=inputs["input_ids"], inputs_embeds=inputs["inputs_embeds"])
        said = {name: inputs[name] for name in ("attention_mask", "position_ids")}
        said["document_ids"] = kwargs.pop("document_ids", None)
        layout = self.model.layout_of(tokens, cache=kwargs.get("past_key_values"), arguments=kwargs, **said)
        if self.reads_rows:
            check_one_document(type(self).__name__, layout)
        rest = {name: value for name, value in inputs.items() if name not in said}
        return self.model(**rest, layout=layout, **{"use_cache": False, **kwargs, "return_dict": True})

    def represent(self, outputs: Any, inputs: Inputs) -> Tensor:
        """The vectors that are mapped to labels, (…, d): by default every position, (B, T, d)."""
        hidden: Tensor = outputs.last_hidden_state
        return hidden

    def label_logits(self, outputs: Any, inputs: Inputs) -> Tensor:
        """The scores of all labels: (…, L)."""
        logits: Tensor = getattr(self, self.map_name)(self.dropout(self.represent(outputs, inputs)))
        return logits

    def label_loss(self, logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
        """Cross-entropy: logits (…, L), labels (…) → scalar."""
        return token_cross_entropy(logits, labels, num_items_in_batch=num_items_in_batch)

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
    ) -> Any:
        """See `TransformerStack.forward` for the inputs, and the class for the shapes of labels and `logits`.

        Args:
            labels: what each head describes; a class of -100 does not count.
            num_items_in_batch: the number by which the summed loss is divided; by default the number of labels that
                count in this batch (see `count_items`).
            past_key_values: keys and values of P earlier positions, which prefix tuning gives.
        """
        inputs: Inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
        }
        outputs = self.read(inputs, past_key_values=past_key_values, **kwargs)
        logits = self.label_logits(outputs, inputs)
        loss = None if labels is None else self.label_loss(logits, labels, num_items_in_batch)
        return with_recorded(self.output_class, outputs, loss=loss, logits=logits)


class SequenceClassification(StackHead):
    """A class, several labels or numbers for each sequence, as `config.problem_type` says. `logits` are (B, L).

    `labels` are (B,) classes; or (B, L) of floats for several labels; or numbers for regression, (B, L), or (B,) where
    L = 1.
    """

    classifier_bias: ClassVar[bool] = True
    reads_rows = True
    output_class = SequenceClassifierOutput

    def __init__(self, config: TriptychBaseConfig):
        super().__init__(config)
        setattr(self, self.map_name, build_classifier(config, self.classifier_bias))
        self.post_init()

    def label_loss(self, logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
        return sequence_loss(self.config, logits, labels, num_items_in_batch)

    def count_items(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        return {"num_items_in_batch": count_sequence_labels(self.config, inputs["labels"])}


class TokenClassification(StackHead):
    """A class for each token: tagging, named entities. `labels` are (B, T), `logits` (B, T, L)."""

    def __init__(self, config: TriptychBaseConfig):
        super().__init__(config)
        setattr(self, self.map_name, nn.Linear(config.hidden_size, config.num_labels))
        self.post_init()


class QuestionAnswering(SpanHead, StackHead):
    """The span of the text that answers a question: for each token, a score for the first and one for the last."""

    reads_rows = True
    output_class = QuestionAnsweringModelOutput

    def __init__(self, config: TriptychBaseConfig):
        super().__init__(config)
        self.add_span_map()
        self.post_init()

    def answered(self, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        tokens = given(input_ids=inputs.get("input_ids"), inputs_embeds=inputs.get("inputs_embeds"))
        return tokens, inputs.get("attention_mask")

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
        num_items_in_batch: Tensor | int | None = None,
        num_ends_in_batch: Tensor | int | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> Any:
        """See `TransformerStack.forward` for the inputs. `start_logits` and `end_logits` are (B, T).

        Args:
            start_positions, end_positions: (B,) first and last position of the answer. A position beyond the row, or
                on a masked token, belongs to an answer that was cut off, and does not count.
            num_items_in_batch, num_ends_in_batch: the numbers by which the summed losses of the first and of the last
                positions are divided; by default the numbers that count in this batch (see `count_items`).
            past_key_values: keys and values of P earlier positions, which prefix tuning gives.
        """
        inputs: Inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
        }
        outputs = self.read(inputs, past_key_values=past_key_values, **kwargs)
        ends, numbers = (start_positions, end_positions), (num_items_in_batch, num_ends_in_batch)
        return self.span_output(outputs, inputs, ends, numbers)


class TriptychEncoderForSequenceClassification(SequenceClassification):
    """The encoder with a map from its pooled output to labels, as in BERT.

    If the head has a dense layer (`classifier_activation`), it reads the first token, as in RoBERTa.
    """

    config: TriptychEncoderConfig
    auto_classes = ("AutoModelForSequenceClassification",)

    def build_body(self, config: TriptychEncoderConfig) -> TriptychEncoderModel:
        return TriptychEncoderModel(config, add_pooling_layer=config.classifier_activation == "none")

    def represent(self, outputs: Any, inputs: Inputs) -> Tensor:
        return sequence_vector(outputs, inputs["attention_mask"])


class TriptychEncoderForTokenClassification(TokenClassification):
    """The encoder with a map from every position to labels."""

    config: TriptychEncoderConfig
    auto_classes = ("AutoModelForTokenClassification",)

    def build_body(self, config: TriptychEncoderConfig) -> TriptychEncoderModel:
        return TriptychEncoderModel(config, add_pooling_layer=False)


class TriptychEncoderForQuestionAnswering(QuestionAnswering):
    """The encoder with a map from every position to the two ends of an answer."""

    config: TriptychEncoderConfig
    auto_classes = ("AutoModelForQuestionAnswering",)

    def build_body(self, config: TriptychEncoderConfig) -> TriptychEncoderModel:
        return TriptychEncoderModel(config, add_pooling_layer=False)


class TriptychEncoderForMultipleChoice(StackHead):
    """The encoder with a map from its pooled output to one score, which is compared between the choices of a question.

    Every input has an axis of C choices after the batch, for example `input_ids` (B, C, T). `logits` are (B, C),
    `labels` are (B,) in [0, C).

    If the body has no pooler, the head has a dense layer (`classifier_activation`; DistilBERT, ELECTRA).
    """

    config: TriptychEncoderConfig
    auto_classes = ("AutoModelForMultipleChoice",)
    reads_rows = True
    output_class = MultipleChoiceModelOutput

    def __init__(self, config: TriptychEncoderConfig):
        super().__init__(config)
        own_layer = config.pooler == "none" and config.classifier_activation != "none"
        width, activation = config.hidden_size, config.classifier_activation
        self.pre_classifier = DenseLayer(width, activation) if own_layer else nn.Identity()
        self.classifier = nn.Linear(width, 1)
        self.post_init()

    def build_body(self, config: TriptychEncoderConfig) -> TriptychEncoderModel:
        return TriptychEncoderModel(config)

    def read(self, inputs: Inputs, **kwargs: Any) -> Any:
        """Extends `StackHead.read`: every choice is one row for the body."""
        return super().read(choices_as_rows(inputs), **kwargs)

    def represent(self, outputs: Any, inputs: Inputs) -> Tensor:
        """(B · C, d)"""
        vectors: Tensor = self.pre_classifier(sequence_vector(outputs, choices_as_rows(inputs)["attention_mask"]))
        return vectors

    def label_logits(self, outputs: Any, inputs: Inputs) -> Tensor:
        """(B, C)"""
        choices = given(input_ids=inputs["input_ids"], inputs_embeds=inputs["inputs_embeds"]).shape[:2]
        return super().label_logits(outputs, inputs).view(choices)


def choices_as_rows(inputs: Inputs) -> Inputs:
    """The inputs of all choices of all questions as rows of one batch: (B, C, …) → (B · C, …)."""
    return {name: None if x is None else x.flatten(0, 1) for name, x in inputs.items()}


class TriptychDecoderForSequenceClassification(SequenceClassification):
    """The decoder with a map from its last position to labels."""

    config: TriptychDecoderConfig
    auto_classes = ("AutoModelForSequenceClassification",)
    map_name = "score"
    classifier_bias = False  # as in GPT-2

    def build_body(self, config: TriptychDecoderConfig) -> TriptychDecoderModel:
        return TriptychDecoderModel(config)

    def represent(self, outputs: Any, inputs: Inputs) -> Tensor:
        hidden, input_ids = outputs.last_hidden_state, inputs["input_ids"]
        attended = own_tokens(inputs["attention_mask"], hidden.shape[1])
        if attended is None and input_ids is not None and self.config.pad_token_id is not None:
            attended = input_ids != self.config.pad_token_id
        return take(hidden, last_token(hidden, attended))


class TriptychDecoderForTokenClassification(TokenClassification):
    """The decoder with a map from every position to labels."""

    config: TriptychDecoderConfig
    auto_classes = ("AutoModelForTokenClassification",)
    map_name = "score"

    def build_body(self, config: TriptychDecoderConfig) -> TriptychDecoderModel:
        return TriptychDecoderModel(config)


class TriptychDecoderForQuestionAnswering(QuestionAnswering):
    """The decoder with a map from every position to the two ends of an answer."""

    config: TriptychDecoderConfig
    auto_classes = ("AutoModelForQuestionAnswering",)

    def build_body(self, config: TriptychDecoderConfig) -> TriptychDecoderModel:
        return TriptychDecoderModel(config)
