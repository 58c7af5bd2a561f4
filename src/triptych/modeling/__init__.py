"""The model: one attention, one feed-forward, one layer, one stack; three families and their heads."""

from .base import TriptychPreTrainedModel
from .decoder import TriptychDecoderForCausalLM, TriptychDecoderModel
from .encoder import TriptychEncoderForMaskedLM, TriptychEncoderModel
from .encoder_decoder import TriptychForConditionalGeneration, TriptychModel

__all__ = [
    "TriptychDecoderForCausalLM",
    "TriptychDecoderModel",
    "TriptychEncoderForMaskedLM",
    "TriptychEncoderModel",
    "TriptychForConditionalGeneration",
    "TriptychModel",
    "TriptychPreTrainedModel",
]
