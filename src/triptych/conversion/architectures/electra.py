"""ELECTRA (Clark et al. 2020): BERT's layers, trained to recognise replaced tokens."""

from typing import Any

from ...configuration import TriptychEncoderConfig
from ..rules import rules
from ..shared.bert import BODY, CLASSIFIERS, FIELDS, HEADS, REFUSED, check_one_activation, heads
from ..table import Architecture, CannotExpress

MAPPED = {hf_name: name for hf_name, name in FIELDS.items() if hf_name != "classifier_dropout"}


def dropout_field(head: str) -> str:
    """The field of transformers for the dropout before a classifier."""
    return "summary_last_dropout" if head.endswith("ForMultipleChoice") else "classifier_dropout"


def read(hf_config: Any, head: str) -> dict[str, Any]:
    """The body has no pooler; each head over sequences has a dense layer before its map to labels."""
    if hf_config.embedding_size != hf_config.hidden_size:
        raise CannotExpress(
            f"{type(hf_config).__name__} has embedding_size={hf_config.embedding_size} beside hidden_size="
            f"{hf_config.hidden_size}, which needs the map embeddings_project: Triptych has no such thing"
        )
    check_one_activation(hf_config, head)
    compares = head.endswith("ForMultipleChoice")
    summary = (hf_config.summary_type, hf_config.summary_use_proj)
    if compares and summary != ("first", True):
        raise CannotExpress(
            f"{head} has summary_type={hf_config.summary_type!r} and summary_use_proj={hf_config.summary_use_proj}, "
            "but before a classifier, Triptych has a dense layer over the first token"
        )
    return {
        "classifier_activation": hf_config.summary_activation if compares else "gelu",
        "classifier_dropout": getattr(hf_config, dropout_field(head)),
    }


def write(config: TriptychEncoderConfig, head: str) -> dict[str, Any]:
    if head.endswith("ForMultipleChoice"):
        fields = {
            "summary_activation": config.classifier_activation,
            "summary_last_dropout": config.classifier_dropout_rate,
        }
    else:
        fields = {"classifier_dropout": config.classifier_dropout}
    return {"embedding_size": config.hidden_size, **fields}


ELECTRA = Architecture(
    model_type="electra",
    config_class=TriptychEncoderConfig,
    heads=heads("Electra", *HEADS),
    fields=MAPPED,
    fixed={"pooler": "none"},
    refused=REFUSED,
    read=read,
    write=write,
    rules=rules(
        {
            **BODY,
            "generator_predictions.dense": "transform.dense",
            "generator_predictions.LayerNorm": "transform.norm",
            "generator_lm_head": "lm_head",
            "sequence_summary.summary": "pre_classifier.dense",
            **CLASSIFIERS,
        }
    ),
)
