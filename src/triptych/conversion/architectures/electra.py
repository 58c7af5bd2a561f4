"""ELECTRA (Clark et al. 2020): BERT's layers, trained to tell tokens that were replaced from those that were not."""

from typing import Any

from ...configuration import TriptychEncoderConfig
from ..architecture import Architecture, CannotExpress
from ..rules import rules
from .bert import BODY, FIELDS, REFUSED, heads
from .roberta import CLASSIFIERS, HEADS, check_one_activation

MAPPED = {theirs: ours for theirs, ours in FIELDS.items() if theirs != "classifier_dropout"}


def dropout_field(head: str) -> str:
    """Their name for the dropout before a classifier."""
    return "summary_last_dropout" if head.endswith("ForMultipleChoice") else "classifier_dropout"


def read(theirs: Any, head: str) -> dict[str, Any]:
    """The body has no pooler, and each head over sequences has a layer of its own before its map to labels."""
    if theirs.embedding_size != theirs.hidden_size:
        raise CannotExpress(
            f"{type(theirs).__name__} has embedding_size={theirs.embedding_size} beside hidden_size="
            f"{theirs.hidden_size}, so embeddings_project before its layers: Triptych has no such thing"
        )
    check_one_activation(theirs, head)
    compares = head.endswith("ForMultipleChoice")
    summary = (theirs.summary_type, theirs.summary_use_proj)
    if compares and summary != ("first", True):
        raise CannotExpress(
            f"{head} has summary_type={theirs.summary_type!r} and summary_use_proj={theirs.summary_use_proj}: what "
            "Triptych has before a classifier is a dense layer over the first token"
        )
    return {
        "classifier_activation": theirs.summary_activation if compares else "gelu",
        "classifier_dropout": getattr(theirs, dropout_field(head)),
    }


def write(ours: TriptychEncoderConfig, head: str) -> dict[str, Any]:
    if head.endswith("ForMultipleChoice"):
        own = {"summary_activation": ours.classifier_activation, "summary_last_dropout": ours.classifier_dropout_rate}
    else:
        own = {"classifier_dropout": ours.classifier_dropout}
    return {"embedding_size": ours.hidden_size, **own}


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
