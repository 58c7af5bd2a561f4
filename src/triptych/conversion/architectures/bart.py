"""BART (Lewis et al. 2020), and mBART (Liu et al. 2020), which is BART with norms before the sublayers."""

import dataclasses
from typing import Any

from ...configuration import TriptychConfig
from ..architecture import Architecture
from ..arrangements import Copied, Row
from ..rules import rules

LAYERS = {
    "{side}.layers.{i}.self_attn.q_proj": "{side}.layers.{i}.self_attention.q_proj",
    "{side}.layers.{i}.self_attn.k_proj": "{side}.layers.{i}.self_attention.k_proj",
    "{side}.layers.{i}.self_attn.v_proj": "{side}.layers.{i}.self_attention.v_proj",
    "{side}.layers.{i}.self_attn.out_proj": "{side}.layers.{i}.self_attention.o_proj",
    "{side}.layers.{i}.self_attn_layer_norm": "{side}.layers.{i}.norms.self_attention",
    "{side}.layers.{i}.encoder_attn.q_proj": "{side}.layers.{i}.cross_attention.q_proj",
    "{side}.layers.{i}.encoder_attn.k_proj": "{side}.layers.{i}.cross_attention.k_proj",
    "{side}.layers.{i}.encoder_attn.v_proj": "{side}.layers.{i}.cross_attention.v_proj",
    "{side}.layers.{i}.encoder_attn.out_proj": "{side}.layers.{i}.cross_attention.o_proj",
    "{side}.layers.{i}.encoder_attn_layer_norm": "{side}.layers.{i}.norms.cross_attention",
    "{side}.layers.{i}.fc1": "{side}.layers.{i}.feed_forward.up_proj",
    "{side}.layers.{i}.fc2": "{side}.layers.{i}.feed_forward.down_proj",
    "{side}.layers.{i}.final_layer_norm": "{side}.layers.{i}.norms.feed_forward",
    "{side}.layer_norm": "{side}.norm",
}
# The stacks compute with their own matrices, which are `shared` only where all are tied: else that one is idle.
EMBEDDINGS = (
    *rules({"encoder.embed_tokens": "embed_tokens", "decoder.embed_tokens": "decoder_embed_tokens"}),
    *rules({"decoder.embed_tokens": "embed_tokens", "lm_head": "lm_head"}),
    *rules({"shared": "embed_tokens"}, Copied()),
)
FIELDS = {
    "vocab_size": "vocab_size",
    "d_model": "hidden_size",
    "encoder_layers": "encoder_layers",
    "decoder_layers": "decoder_layers",
    "encoder_attention_heads": "num_attention_heads",
    "encoder_ffn_dim": "intermediate_size",
    "activation_function": "activation",
    "max_position_embeddings": "max_position_embeddings",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "init_std": "initializer_range",
}
FIXED = {
    "attention_bias": True,
    "attention_output_bias": True,
    "label_smoothing": 0.0,
    "initializer": "normal",
}
LEARNED = {"positions": "learned", "position_offset": 2, "embedding_norm": True, "head_bias": True}
REFUSED = {"is_decoder": ((False,), "a decoder on its own")}


def decoder_overrides(theirs: Any) -> dict[str, Any]:
    """The sizes in which their decoder differs from their encoder."""
    sizes = {"num_attention_heads": "attention_heads", "intermediate_size": "ffn_dim"}
    own = {
        ours: getattr(theirs, f"decoder_{name}")
        for ours, name in sizes.items()
        if getattr(theirs, f"decoder_{name}") != getattr(theirs, f"encoder_{name}")
    }
    return {"decoder_overrides": own or None}


def read(theirs: Any, head: str) -> dict[str, Any]:
    return {
        **decoder_overrides(theirs),
        "embedding_scale": None if theirs.scale_embedding else 1.0,
        "share_encoder_decoder_embeddings": theirs.tie_word_embeddings,
    }


def write(ours: TriptychConfig, head: str) -> dict[str, Any]:
    return {
        "scale_embedding": ours.embedding_scale is None,
        "decoder_attention_heads": ours.stack_config("decoder.").num_attention_heads,
        "decoder_ffn_dim": ours.stack_config("decoder.").intermediate_size,
    }


def write_classifier(ours: TriptychConfig, head: str) -> dict[str, Any]:
    return {**write(ours, head), "classifier_dropout": ours.classifier_dropout_rate}


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
# Its heads that classify start the decoder with the last token of the source, ours with the start token.
MBART = dataclasses.replace(
    BART,
    model_type="mbart",
    heads={
        "MBartModel": "TriptychModel",
        "MBartForConditionalGeneration": "TriptychForConditionalGeneration",
    },
    fixed={**BART.fixed, "residual": "pre", "decoder_start": "last_label"},
)
