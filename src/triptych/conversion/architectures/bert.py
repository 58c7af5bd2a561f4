"""BERT (Devlin et al. 2018)."""

from typing import Any

from ...configuration import TriptychEncoderConfig
from ..arrangements import Copied
from ..rules import rules
from ..shared.bert import BODY, FIELDS, REFUSED, heads
from ..table import Architecture


def write(config: TriptychEncoderConfig, head: str) -> dict[str, Any]:
    """Every token belongs to a segment, which the table of segments has to have."""
    return {"type_vocab_size": config.type_vocab_size or 1}


BERT = Architecture(
    model_type="bert",
    config_class=TriptychEncoderConfig,
    heads=heads(
        "Bert",
        "ForPreTraining",
        "ForMaskedLM",
        "ForNextSentencePrediction",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForQuestionAnswering",
        "ForMultipleChoice",
    ),
    fields=FIELDS,
    refused=REFUSED,
    write=write,
    rules=rules(
        {
            **BODY,
            "pooler.dense": "pooler.dense",
            "cls.predictions.transform.dense": "transform.dense",
            "cls.predictions.transform.LayerNorm": "transform.norm",
            "cls.predictions.decoder": "lm_head",
            "cls.seq_relationship": "next_sentence",
            "classifier": "classifier",
            "qa_outputs": "qa_outputs",
        }
    )
    + rules({"cls.predictions.bias": "lm_head.bias"}, Copied()),
)
