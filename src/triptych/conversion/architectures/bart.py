"""BART (Lewis et al. 2020), and mBART (Liu et al. 2020), which is BART with norms before the sublayers."""

import dataclasses
from typing import Any

from ...configuration import TriptychConfig
from ..arrangements import Row
from ..rules import rules
from ..shared.fairseq import EMBEDDINGS, FIELDS, FIXED, LAYERS, REFUSED, read, write
from ..table import Architecture

LEARNED = {"positions": "learned", "position_offset": 2, "embedding_norm": True, "head_bias": True}


def write_classifier(config: TriptychConfig, head: str) -> dict[str, Any]:
    return {**write(config, head), "classifier_dropout": config.classifier_dropout_rate}


TABLE = (
    *EMBEDDINGS,
    *rules({"final_logits_bias": "lm_head.bias"}, Row()),
    *rules(
        {
            **LAYERS,
            "{side}.embed_positions": "{side}.positions.table",
            "{side}.layernorm_embedding": "{side}.embedding_norm",
            "classification_head.dense": "classifier.dense",
            "classification_head.out_proj": "classifier.out_proj",
            "qa_outputs": "qa_outputs",
        }
    ),
)
BART = Architecture(
    model_type="bart",
    config_class=TriptychConfig,
    heads={
        "BartModel": "TriptychModel",
        "BartForConditionalGeneration": "TriptychForConditionalGeneration",
        "BartForSequenceClassification": "TriptychForSequenceClassification",
        "BartForQuestionAnswering": "TriptychForQuestionAnswering",
    },
    fields={**FIELDS, "classifier_dropout": "classifier_dropout"},
    fixed={**FIXED, **LEARNED, "residual": "post"},
    refused=REFUSED,
    read=read,
    write=write_classifier,
    rules=TABLE,
)
# mBART's heads for classification are not converted: they start the decoder with the last token of the source, and
# Triptych's start it with the start token.
MBART = dataclasses.replace(
    BART,
    model_type="mbart",
    heads={
        "MBartModel": "TriptychModel",
        "MBartForConditionalGeneration": "TriptychForConditionalGeneration",
    },
    fixed={**BART.fixed, "residual": "pre", "decoder_start": "last_label"},
)
