"""RoBERTa (Liu et al. 2019), and the two that are RoBERTa over other texts: XLM-RoBERTa and CamemBERT."""

from typing import Any

from ...configuration import TriptychEncoderConfig
from ..architecture import Architecture, CannotExpress
from ..arrangements import Copied
from ..rules import rules
from .bert import BODY, FIELDS, REFUSED, heads

HEADS = (
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
)
# The classification of sequences has a layer of its own before its map to labels, all other heads have the map alone.
CLASSIFIERS = {
    "classifier": "classifier",
    "classifier.dense": "classifier.dense",
    "classifier.out_proj": "classifier.out_proj",
    "qa_outputs": "qa_outputs",
}
OWN = ("classifier_dropout", "max_position_embeddings")
MAPPED = {theirs: ours for theirs, ours in FIELDS.items() if theirs not in OWN}


def check_one_activation(theirs: Any, head: str) -> None:
    """Raises CannotExpress where the layers have another activation than what stands before their map to tokens."""
    if head.endswith("ForMaskedLM") and theirs.hidden_act != "gelu":
        raise CannotExpress(
            f"{head} has hidden_act={theirs.hidden_act!r} in its layers, but gelu before its map to the vocabulary: "
            "Triptych has one activation"
        )


def read(theirs: Any, head: str) -> dict[str, Any]:
    """Their table of positions has rows for the padding, and for what fairseq numbered before it."""
    if theirs.pad_token_id is None:
        raise CannotExpress("RoBERTa counts positions from pad_token_id, which is None")
    check_one_activation(theirs, head)
    offset = theirs.pad_token_id + 1
    return {
        "position_offset": offset,
        "first_position_id": offset,
        "max_position_embeddings": theirs.max_position_embeddings - offset,
        # Over choices there is the dropout of all layers.
        "classifier_dropout": None if head.endswith("ForMultipleChoice") else theirs.classifier_dropout,
    }


def write(ours: TriptychEncoderConfig, head: str) -> dict[str, Any]:
    own = {} if head.endswith("ForMultipleChoice") else {"classifier_dropout": ours.classifier_dropout}
    return {"max_position_embeddings": ours.max_position_embeddings + ours.position_offset, **own}


def like_roberta(model_type: str, name: str) -> Architecture:
    """The table of one that differs from RoBERTa in the names of its classes only."""
    return Architecture(
        model_type=model_type,
        config_class=TriptychEncoderConfig,
        heads=heads(name, *HEADS),
        fields=MAPPED,
        fixed={"classifier_activation": "tanh"},
        masked_positions="skipped",  # they count by the id of the padding, which their tokenizers mask
        refused=REFUSED,
        read=read,
        write=write,
        rules=rules(
            {
                **BODY,
                "pooler.dense": "pooler.dense",
                "lm_head.dense": "transform.dense",
                "lm_head.layer_norm": "transform.norm",
                "lm_head.decoder": "lm_head",
                **CLASSIFIERS,
            }
        )
        + rules({"lm_head.bias": "lm_head.bias"}, Copied()),
    )


ROBERTA = like_roberta("roberta", "Roberta")
XLM_ROBERTA = like_roberta("xlm-roberta", "XLMRoberta")
CAMEMBERT = like_roberta("camembert", "Camembert")
