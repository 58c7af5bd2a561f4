"""The models: one attention, one feed-forward, one layer and one stack make three families, each with its heads."""

from .base import TriptychPreTrainedModel
from .conditional_generation import TriptychForConditionalGeneration
from .decoder import TriptychDecoderForCausalLM, TriptychDecoderModel
from .encoder import TriptychEncoderModel
from .encoder_decoder import TriptychModel
from .encoder_decoder_heads import TriptychForQuestionAnswering, TriptychForSequenceClassification
from .heads import (
    TriptychDecoderForQuestionAnswering,
    TriptychDecoderForSequenceClassification,
    TriptychDecoderForTokenClassification,
    TriptychEncoderForMultipleChoice,
    TriptychEncoderForQuestionAnswering,
    TriptychEncoderForSequenceClassification,
    TriptychEncoderForTokenClassification,
)
from .pre_training import (
    TriptychEncoderForMaskedLM,
    TriptychEncoderForNextSentencePrediction,
    TriptychEncoderForPreTraining,
)

__all__ = [
    "TriptychDecoderForCausalLM",
    "TriptychDecoderForQuestionAnswering",
    "TriptychDecoderForSequenceClassification",
    "TriptychDecoderForTokenClassification",
    "TriptychDecoderModel",
    "TriptychEncoderForMaskedLM",
    "TriptychEncoderForMultipleChoice",
    "TriptychEncoderForNextSentencePrediction",
    "TriptychEncoderForPreTraining",
    "TriptychEncoderForQuestionAnswering",
    "TriptychEncoderForSequenceClassification",
    "TriptychEncoderForTokenClassification",
    "TriptychEncoderModel",
    "TriptychForConditionalGeneration",
    "TriptychForQuestionAnswering",
    "TriptychForSequenceClassification",
    "TriptychModel",
    "TriptychPreTrainedModel",
]
