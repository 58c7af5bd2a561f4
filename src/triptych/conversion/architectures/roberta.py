"""RoBERTa (Liu et al. 2019), and the same model trained on other texts: XLM-RoBERTa and CamemBERT."""

from typing import Any

from ...configuration import TriptychEncoderConfig
from ..arrangements import Copied
from ..rules import rules
from ..shared.bert import BODY, CLASSIFIERS, FIELDS, HEADS, REFUSED, check_one_activation, heads
from ..table import Architecture, CannotExpress

READ = ("classifier_dropout", "max_position_embeddings")
MAPPED = {hf_name: name for hf_name, name in FIELDS.items() if hf_name not in READ}


def read(hf_config: Any, head: str) -> dict[str, Any]:
    """The table of positions has rows for the padding token, and for the ids before it."""
    if hf_config.pad_token_id is None:
        raise CannotExpress("RoBERTa counts positions from pad_token_id, which is None")
    check_one_activation(hf_config, head)
    offset = hf_config.pad_token_id + 1
    return {
        "position_offset": offset,
        "first_position_id": offset,
        "max_position_embeddings": hf_config.max_position_embeddings - offset,
        # The head for multiple choice uses the dropout of the layers.
        "classifier_dropout": None if head.endswith("ForMultipleChoice") else hf_config.classifier_dropout,
    }


def write(config: TriptychEncoderConfig, head: str) -> dict[str, Any]:
    dropout = {} if head.endswith("ForMultipleChoice") else {"classifier_dropout": config.classifier_dropout}
    return {"max_position_embeddings": config.max_position_embeddings + config.position_offset, **dropout}


def like_roberta(model_type: str, name: str) -> Architecture:
    """The table of an architecture that differs from RoBERTa only in the names of its classes."""
    return Architecture(
        model_type=model_type,
        config_class=TriptychEncoderConfig,
        heads=heads(name, *HEADS),
        fields=MAPPED,
        fixed={"classifier_activation": "tanh"},
        masked_positions="skipped",  # positions are counted by the padding id, which the tokenizers mask
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
