"""Registration with transformers' Auto classes."""

from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForTextEncoding,
)
from transformers.models.auto import modeling_auto

from .base import TriptychPreTrainedModel
from .decoder import TriptychDecoderForCausalLM, TriptychDecoderModel
from .encoder import TriptychEncoderForMaskedLM, TriptychEncoderModel
from .encoder_decoder import TriptychForConditionalGeneration, TriptychModel

AUTO_CLASSES: dict[Any, tuple[type[TriptychPreTrainedModel], ...]] = {
    AutoModel: (TriptychModel, TriptychEncoderModel, TriptychDecoderModel),
    AutoModelForTextEncoding: (TriptychEncoderModel,),
    AutoModelForSeq2SeqLM: (TriptychForConditionalGeneration,),
    AutoModelForMaskedLM: (TriptychEncoderForMaskedLM,),
    AutoModelForCausalLM: (TriptychDecoderForCausalLM,),
}

# Tables of class names that parts of transformers consult in place of the registry; Trainer shifts the labels for
# its label smoothing only for a name in the second one.
NAME_TABLES: dict[str, type[TriptychPreTrainedModel]] = {
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES": TriptychForConditionalGeneration,
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": TriptychDecoderForCausalLM,
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES": TriptychEncoderForMaskedLM,
}


def register() -> None:
    """Make the three families known to the Auto classes; safe to repeat."""
    for auto_class, model_classes in AUTO_CLASSES.items():
        for model_class in model_classes:
            config_class = model_class.config_class
            AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
            auto_class.register(config_class, model_class, exist_ok=True)
    for table, head in NAME_TABLES.items():
        getattr(modeling_auto, table)[head.config_class.model_type] = head.__name__
