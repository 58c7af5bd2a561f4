"""BERT's pre-training (Devlin et al. 2018, section 3.1): masked tokens, the next sentence, and both together.

Shapes: B batch, T positions, V words of the vocabulary, d residual width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_outputs import MaskedLMOutput, NextSentencePredictorOutput
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from ..configuration import TriptychEncoderConfig
from .encoder import TriptychEncoderModel
from .heads import Inputs, StackHead
from .labels import IGNORED, count_labels
from .losses import token_cross_entropy
from .norms import build_norm
from .outputs import with_recorded
from .pooling import sequence_vector
from .vocabulary_head import VocabularyHead


class PredictionTransform(nn.Module):
    """BERT's dense layer, activation and norm before the map to the vocabulary: (…, d) → (…, d)."""

    def __init__(self, config: TriptychEncoderConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation, self.norm = ACT2FN[config.activation], build_norm(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.activation(self.dense(x)))


class TriptychEncoderForMaskedLM(VocabularyHead):
    """The encoder with BERT's head for masked language modelling."""

    config: TriptychEncoderConfig
    auto_classes = ("AutoModelForMaskedLM",)
    has_few_labels = True

    def __init__(self, config: TriptychEncoderConfig):
        super().__init__(config)
        self.model = TriptychEncoderModel(config, add_pooling_layer=False)
        self.add_lm_head(config.vocab_size, PredictionTransform(config))
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
        skip_logits: bool = False,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """See `TransformerStack.forward` for the inputs. `logits` are (B, T, V).

        Args:
            labels: (B, T) the original tokens at masked positions, -100 everywhere else.
            num_items_in_batch: the number by which the summed loss is divided; by default the number of labels that
                count in this batch (see `count_items`).
            skip_logits: whether only the loss is computed; then `logits` is None.
        """
        outputs = self.model(
            input_ids,
            attention_mask,
            position_ids=position_ids,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            return_dict=True,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        logits, loss = self.logits_and_loss(hidden, labels, num_items_in_batch, skip_logits=skip_logits)
        return with_recorded(MaskedLMOutput, outputs, loss=loss, logits=logits)


class TriptychEncoderForNextSentencePrediction(StackHead):
    """The encoder with a map from its pooled output to two classes: B follows A (0), or B is a random sentence (1).

    `labels` are (B,), `logits` are (B, 2).
    """

    config: TriptychEncoderConfig
    auto_classes = ("AutoModelForNextSentencePrediction",)
    map_name = "next_sentence"
    reads_rows = True
    output_class = NextSentencePredictorOutput

    def __init__(self, config: TriptychEncoderConfig):
        super().__init__(config)
        self.dropout = nn.Identity()  # type: ignore[assignment] # BERT has no dropout here
        self.next_sentence = nn.Linear(config.hidden_size, 2)
        self.post_init()

    def build_body(self, config: TriptychEncoderConfig) -> TriptychEncoderModel:
        return TriptychEncoderModel(config)

    def represent(self, outputs: Any, inputs: Inputs) -> Tensor:
        return sequence_vector(outputs, inputs["attention_mask"])

    def label_loss(self, logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
        return super().label_loss(logits, labels.view(-1), num_items_in_batch)


@dataclass
class PreTrainingOutput(ModelOutput):
    """`loss` (the sum of both losses), `prediction_logits` (B, T, V) and `seq_relationship_logits` (B, 2).

    These are the names in transformers' BERT.
    """

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None
    seq_relationship_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None

    def __getitem__(self, key: Any) -> Any:
        if key == "logits":  # transformers' Trainer would compute smoothed labels from them and lose one of the losses
            raise KeyError(
                "there are prediction_logits and seq_relationship_logits; to smooth labels, set label_smoothing in "
                "the model's config instead of label_smoothing_factor in the TrainingArguments"
            )
        return super().__getitem__(key)


class TriptychEncoderForPreTraining(VocabularyHead):
    """The encoder with both heads of BERT's pre-training."""

    config: TriptychEncoderConfig
    auto_classes = ("AutoModelForPreTraining",)
    has_few_labels = True

    def __init__(self, config: TriptychEncoderConfig):
        super().__init__(config)
        self.model = TriptychEncoderModel(config)
        self.add_lm_head(config.vocab_size, PredictionTransform(config))
        self.next_sentence = nn.Linear(config.hidden_size, 2)
        self.post_init()

    def count_items(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Extends `TriptychPreTrainedModel.count_items`: counts tokens and pairs of sentences separately."""
        names = {"num_items_in_batch": "labels", "num_sequences_in_batch": "next_sentence_label"}
        return {number: count_labels(inputs[name]) for number, name in names.items() if inputs.get(name) is not None}

    def sentence_logits(self, outputs: Any, attention_mask: Tensor | None = None) -> Tensor:
        """The scores of the two classes of each row, for what the body returns: (B, 2)."""
        logits: Tensor = self.next_sentence(sequence_vector(outputs, attention_mask))
        return logits

    def sentence_loss(
        self,
        logits: Tensor,
        answers: Tensor,
        labels: Tensor | None,
        num_items_in_batch: Tensor | int | None,
        num_sequences_in_batch: Tensor | int | None,
    ) -> Tensor:
        """The loss of next-sentence prediction: logits (B, 2), answers (B,) → scalar.

        transformers' Trainer gives only the number of tokens in the update. In this case, the weight of a pair of
        sentences is the number of its tokens that have a label. So this loss does not depend on how an update is cut,
        either.
        """
        if labels is None or num_items_in_batch is None or num_sequences_in_batch is not None:
            return token_cross_entropy(logits, answers, num_items_in_batch=num_sequences_in_batch)
        for_each_token = torch.where(labels == IGNORED, IGNORED, answers[:, None])
        logits = logits[:, None].expand(-1, labels.shape[1], -1)
        return token_cross_entropy(logits, for_each_token, num_items_in_batch=num_items_in_batch)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        num_sequences_in_batch: Tensor | int | None = None,
        skip_logits: bool = False,
        **kwargs: Any,
    ) -> PreTrainingOutput:
        """See `TransformerStack.forward` for the inputs.

        Args:
            labels: (B, T) the original tokens at masked positions, -100 everywhere else.
            next_sentence_label: (B,) 0 where the second segment follows the first, 1 where it does not.
            num_items_in_batch: the number by which the summed loss over tokens is divided; by default the number of
                `labels` that count in this batch.
            num_sequences_in_batch: the same for the loss over sentences (see `sentence_loss` and `count_items`).
            skip_logits: whether no logits over the vocabulary are returned; then `prediction_logits` is None.
        """
        outputs = self.model(
            input_ids,
            attention_mask,
            position_ids=position_ids,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            return_dict=True,
            **kwargs,
        )
        hidden, token_logits, loss = outputs.last_hidden_state, None, None
        if labels is not None or next_sentence_label is None or not skip_logits:  # else the sentences make up the loss
            token_logits, loss = self.logits_and_loss(hidden, labels, num_items_in_batch, skip_logits=skip_logits)
        sentence_logits = self.sentence_logits(outputs, attention_mask)
        if next_sentence_label is not None:
            numbers = num_items_in_batch, num_sequences_in_batch
            of_sentences = self.sentence_loss(sentence_logits, next_sentence_label.view(-1), labels, *numbers)
            loss = of_sentences if loss is None else loss + of_sentences
        return with_recorded(
            PreTrainingOutput,
            outputs,
            loss=loss,
            prediction_logits=token_logits,
            seq_relationship_logits=sentence_logits,
        )
