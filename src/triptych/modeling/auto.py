"""Registration with transformers' Auto classes."""

from typing import Any

import transformers
from transformers import AutoConfig
from transformers.models.auto import modeling_auto

from .base import TriptychPreTrainedModel
from .decoder import TriptychDecoderForCausalLM, TriptychDecoderModel
from .encoder import TriptychEncoderModel
from .encoder_decoder import TriptychForConditionalGeneration, TriptychModel
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

# Each Auto class, and its table of class names in transformers: parts of transformers consult the table in place of
# the registry (Trainer shifts the labels for its label smoothing only for a name in the causal one).
AUTO_CLASSES: dict[tuple[str, str], tuple[type[TriptychPreTrainedModel], ...]] = {
    ("AutoModel", "MODEL_MAPPING_NAMES"): (TriptychModel, TriptychEncoderModel, TriptychDecoderModel),
    ("AutoModelForTextEncoding", "MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES"): (TriptychEncoderModel,),
    ("AutoModelForPreTraining", "MODEL_FOR_PRETRAINING_MAPPING_NAMES"): (
        TriptychForConditionalGeneration,
        TriptychEncoderForPreTraining,
        TriptychDecoderForCausalLM,
    ),
    ("AutoModelForSeq2SeqLM", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"): (TriptychForConditionalGeneration,),
    ("AutoModelForMaskedLM", "MODEL_FOR_MASKED_LM_MAPPING_NAMES"): (TriptychEncoderForMaskedLM,),
    ("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"): (TriptychDecoderForCausalLM,),
    ("AutoModelForNextSentencePrediction", "MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES"): (
        TriptychEncoderForNextSentencePrediction,
    ),
    ("AutoModelForMultipleChoice", "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES"): (TriptychEncoderForMultipleChoice,),
    ("AutoModelForSequenceClassification", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES"): (
        TriptychForSequenceClassification,
        TriptychEncoderForSequenceClassification,
        TriptychDecoderForSequenceClassification,
    ),
    ("AutoModelForTokenClassification", "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES"): (
        TriptychEncoderForTokenClassification,
        TriptychDecoderForTokenClassification,
    ),
    ("AutoModelForQuestionAnswering", "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES"): (
        TriptychForQuestionAnswering,
        TriptychEncoderForQuestionAnswering,
        TriptychDecoderForQuestionAnswering,
    ),
}


def register() -> None:
    """Make the three families known to the Auto classes; safe to repeat."""
    for (auto_name, table), model_classes in AUTO_CLASSES.items():
        auto_class: Any = getattr(transformers, auto_name)
        for model_class in model_classes:
            config_class = model_class.config_class
            AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
            auto_class.register(config_class, model_class, exist_ok=True)
            getattr(modeling_auto, table)[config_class.model_type] = model_class.__name__
