"""BERT's pre-training (Devlin et al. 2018, section 3.1): masked words, the next sentence, and both at once."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_outputs import MaskedLMOutput, NextSentencePredictorOutput
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from ..configuration import TriptychEncoderConfig
from .base import TriptychPreTrainedModel
from .encoder import TriptychEncoderModel
from .losses import IGNORED, token_cross_entropy
from .norms import build_norm
from .pooling import sequence_vector


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
    _tp_plan = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: TriptychEncoderConfig):
        super().__init__(config)
        self.model = TriptychEncoderModel(config, add_pooling_layer=False)
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
            return_dict=True,
            **kwargs,
        )
        logits = self.lm_head(self.transform(outputs.last_hidden_state) * self.config.logit_scale)
        loss = None
        if labels is not None:
            loss = self.token_loss(logits, labels, num_items_in_batch)
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class TriptychEncoderForNextSentencePrediction(TriptychPreTrainedModel):
    """The encoder with a map from its pooled output to two classes: 0, B follows A; 1, B is a random sentence."""

    config: TriptychEncoderConfig

    def __init__(self, config: TriptychEncoderConfig):
        super().__init__(config)
        self.model = TriptychEncoderModel(config)
        self.next_sentence = nn.Linear(config.hidden_size, 2)
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
    ) -> NextSentencePredictorOutput:
        """See `TransformerStack.forward` for the inputs.

        Args:
            labels: (B,) 0 where the second segment follows the first, 1 where it does not.
            num_items_in_batch: by what the summed loss is divided; by default the number of labels in this batch.
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
        logits = self.next_sentence(sequence_vector(outputs, attention_mask))
        loss = None
        if labels is not None:
            loss = token_cross_entropy(logits, labels.view(-1), num_items_in_batch=num_items_in_batch)
        return NextSentencePredictorOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


@dataclass
class PreTrainingOutput(ModelOutput):
    """`loss` (the sum of both), `prediction_logits` (B, T, V), `seq_relationship_logits` (B, 2): BERT's names."""

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None
    seq_relationship_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None

    def __getitem__(self, key: Any) -> Any:
        if key == "logits":  # asked for by the label smoothing of transformers' Trainer, which would lose a loss
            raise KeyError(
                "there are prediction_logits and seq_relationship_logits; to smooth labels, set label_smoothing in "
                "the model's config instead of label_smoothing_factor in the TrainingArguments"
            )
        return super().__getitem__(key)


class TriptychEncoderForPreTraining(TriptychPreTrainedModel):
    """The encoder with both heads of BERT's pre-training."""

    config: TriptychEncoderConfig
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: TriptychEncoderConfig):
        super().__init__(config)
        self.model = TriptychEncoderModel(config)
        self.transform = PredictionTransform(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=config.head_bias)
        self.next_sentence = nn.Linear(config.hidden_size, 2)
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
        next_sentence_label: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        num_sequences_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> PreTrainingOutput:
        """See `TransformerStack.forward` for the inputs.

        Args:
            labels: (B, T) the tokens behind the masks, -100 everywhere else.
            next_sentence_label: (B,) 0 where the second segment follows the first, 1 where it does not.
            num_items_in_batch: by what the summed loss over tokens is divided; by default the number of `labels`.
            num_sequences_in_batch: the same for the loss over sentences. Where only `num_items_in_batch` is known, as
                under transformers' Trainer, a pair of sentences counts by how many of its tokens have a label, so that
                this loss, too, does not depend on how an update is cut into pieces.
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
        token_logits = self.lm_head(self.transform(outputs.last_hidden_state) * self.config.logit_scale)
        sentence_logits = self.next_sentence(sequence_vector(outputs, attention_mask))
        losses: list[Tensor] = []
        if labels is not None:
            losses.append(self.token_loss(token_logits, labels, num_items_in_batch))
        if next_sentence_label is not None:
            asked, answers, number = next_sentence_label.view(-1), sentence_logits, num_sequences_in_batch
            if labels is not None and num_items_in_batch is not None and number is None:  # once for every token
                asked = torch.where(labels == IGNORED, IGNORED, asked[:, None])
                answers, number = answers[:, None].expand(-1, labels.shape[1], -1), num_items_in_batch
            losses.append(token_cross_entropy(answers, asked, num_items_in_batch=number))
        return PreTrainingOutput(
            loss=torch.stack(losses).sum() if losses else None,
            prediction_logits=token_logits,
            seq_relationship_logits=sentence_logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
