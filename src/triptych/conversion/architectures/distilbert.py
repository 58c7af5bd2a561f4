"""DistilBERT (Sanh et al. 2019): half the layers of BERT, without segments and without a pooler in its body.

Its heads over sequences have a dense layer in the place of BERT's pooler.
"""

from typing import Any

from ...configuration import TriptychEncoderConfig
from ..rules import rules
from ..shared.bert import HEADS, heads
from ..table import Architecture


def read(hf_config: Any, head: str) -> dict[str, Any]:
    """Only heads over sequences have a separate dropout."""
    has_dropout = head.endswith(("ForSequenceClassification", "ForMultipleChoice"))
    return {"classifier_dropout": hf_config.seq_classif_dropout if has_dropout else None}


def write(config: TriptychEncoderConfig, head: str) -> dict[str, Any]:
    has_dropout = head.endswith(("ForSequenceClassification", "ForMultipleChoice"))
    return {"seq_classif_dropout": config.classifier_dropout_rate} if has_dropout else {}


DISTILBERT = Architecture(
    model_type="distilbert",
    config_class=TriptychEncoderConfig,
    heads=heads("DistilBert", *HEADS),
    fields={
        "vocab_size": "vocab_size",
        "dim": "hidden_size",
        "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads",
        "hidden_dim": "intermediate_size",
        "activation": "activation",
        "dropout": "dropout",
        "attention_dropout": "attention_dropout",
        "max_position_embeddings": "max_position_embeddings",  # filled with sinusoids or not, a table of weights
        "initializer_range": "initializer_range",
    },
    fixed={"type_vocab_size": 0, "norm_eps": 1e-12, "pooler": "none", "classifier_activation": "relu"},
    read=read,
    write=write,
    rules=rules(
        {
            "embeddings.word_embeddings": "embed_tokens",
            "embeddings.position_embeddings": "positions.table",
            "embeddings.LayerNorm": "embedding_norm",
            "transformer.layer.{i}.attention.q_lin": "layers.{i}.self_attention.q_proj",
            "transformer.layer.{i}.attention.k_lin": "layers.{i}.self_attention.k_proj",
            "transformer.layer.{i}.attention.v_lin": "layers.{i}.self_attention.v_proj",
            "transformer.layer.{i}.attention.out_lin": "layers.{i}.self_attention.o_proj",
            "transformer.layer.{i}.sa_layer_norm": "layers.{i}.norms.self_attention",
            "transformer.layer.{i}.ffn.lin1": "layers.{i}.feed_forward.up_proj",
            "transformer.layer.{i}.ffn.lin2": "layers.{i}.feed_forward.down_proj",
            "transformer.layer.{i}.output_layer_norm": "layers.{i}.norms.feed_forward",
            "vocab_transform": "transform.dense",
            "vocab_layer_norm": "transform.norm",
            "vocab_projector": "lm_head",
            "pre_classifier": "classifier.dense",
            "classifier": "classifier",
            "qa_outputs": "qa_outputs",
        }
    )
    + rules({"pre_classifier": "pre_classifier.dense", "classifier": "classifier.out_proj"}),  # one in each head
)
