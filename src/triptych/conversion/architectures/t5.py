"""T5 (Raffel et al. 2020), its version 1.1, Flan-T5 and ByT5; and mT5 (Xue et al. 2021)."""

from typing import Any

from ...configuration import TriptychBaseConfig, TriptychConfig, TriptychEncoderConfig
from ..arrangements import Copied
from ..rules import rules
from ..table import Architecture

STACK = {
    "block.{i}.layer.0.SelfAttention.q": "layers.{i}.self_attention.q_proj",
    "block.{i}.layer.0.SelfAttention.k": "layers.{i}.self_attention.k_proj",
    "block.{i}.layer.0.SelfAttention.v": "layers.{i}.self_attention.v_proj",
    "block.{i}.layer.0.SelfAttention.o": "layers.{i}.self_attention.o_proj",
    "block.{i}.layer.0.layer_norm": "layers.{i}.norms.self_attention",
    "block.0.layer.0.SelfAttention.relative_attention_bias": "positions.table",
    "final_layer_norm": "norm",
}
CROSS_ATTENTION = {
    "block.{i}.layer.1.EncDecAttention.q": "layers.{i}.cross_attention.q_proj",
    "block.{i}.layer.1.EncDecAttention.k": "layers.{i}.cross_attention.k_proj",
    "block.{i}.layer.1.EncDecAttention.v": "layers.{i}.cross_attention.v_proj",
    "block.{i}.layer.1.EncDecAttention.o": "layers.{i}.cross_attention.o_proj",
    "block.{i}.layer.1.layer_norm": "layers.{i}.norms.cross_attention",
}
ENCODER_FIELDS = {
    "vocab_size": "vocab_size",
    "d_model": "hidden_size",
    "d_kv": "head_dim",
    "d_ff": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "relative_attention_num_buckets": "relative_num_buckets",
    "relative_attention_max_distance": "relative_max_distance",
    "layer_norm_epsilon": "norm_eps",
    "classifier_dropout": "classifier_dropout",
    "dense_act_fn": "activation",
}
FIXED = {
    "positions": "relative",
    "residual": "pre",
    "norm": "rms",
    "attention_scale": 1.0,
    "embedding_scale": 1.0,
    "attention_bias": False,
    "attention_output_bias": False,
    "feed_forward_bias": False,
    "initializer": "normal",
}
LENGTH = 512  # T5 was trained with texts of this length; only old configurations have the field, and it has no effect


def feed_forward(index: int) -> dict[str, str]:
    """The last sublayer of a block, which is the second of an encoder block and the third of a decoder block."""
    return {
        f"block.{{i}}.layer.{index}.DenseReluDense.wi": "layers.{i}.feed_forward.up_proj",
        f"block.{{i}}.layer.{index}.DenseReluDense.wi_0": "layers.{i}.feed_forward.gate_proj",
        f"block.{{i}}.layer.{index}.DenseReluDense.wi_1": "layers.{i}.feed_forward.up_proj",
        f"block.{{i}}.layer.{index}.DenseReluDense.wo": "layers.{i}.feed_forward.down_proj",
        f"block.{{i}}.layer.{index}.layer_norm": "layers.{i}.norms.feed_forward",
    }


def read(hf_config: Any, head: str) -> dict[str, Any]:
    return {
        "feed_forward": "gated" if hf_config.is_gated_act else "plain",
        "max_position_embeddings": getattr(hf_config, "n_positions", LENGTH),
        **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), hf_config.dropout_rate),
    }


def write(config: TriptychBaseConfig, head: str) -> dict[str, Any]:
    gated = config.feed_forward == "gated"
    activation = "gelu" if gated and config.activation == "gelu_new" else config.activation
    length = config.max_position_embeddings
    return {
        "feed_forward_proj": f"gated-{activation}" if gated else activation,
        "is_gated_act": gated,
        "dropout_rate": config.dropout,
        "classifier_dropout": config.classifier_dropout_rate,
        **({} if length == LENGTH else {"n_positions": length}),
    }


def read_scaled(hf_config: Any, head: str) -> dict[str, Any]:
    """Reads which models have tied weights; the configuration of transformers says that all have.

    The weights of version 1.1 are not tied, and its outputs are not scaled, which shows the difference. If the weights
    of a checkpoint say otherwise, both libraries follow the weights.
    """
    scaled = hf_config.scale_decoder_outputs
    return {
        **read(hf_config, head),
        "tie_word_embeddings": scaled,
        "logit_scale": hf_config.d_model**-0.5 if scaled else 1.0,
    }


def write_scaled(config: TriptychConfig, head: str) -> dict[str, Any]:
    return {
        **write(config, head),
        "tie_word_embeddings": True,
        "scale_decoder_outputs": config.logit_scale != 1.0,
    }


def write_tied(config: TriptychConfig, head: str) -> dict[str, Any]:
    """The configuration of mT5 says that the weights are tied, although they are not tied in any model."""
    return {**write(config, head), "tie_word_embeddings": True}


def write_encoder(config: TriptychEncoderConfig, head: str) -> dict[str, Any]:
    return {**write(config, head), "is_encoder_decoder": False}


def encoder_decoder(model_type: str, name: str, **options: Any) -> Architecture:
    """The encoder–decoder of T5, or of an architecture that differs only in the names of its classes."""
    return Architecture(
        model_type=model_type,
        config_class=TriptychConfig,
        heads={
            f"{name}Model": "TriptychModel",
            f"{name}ForConditionalGeneration": "TriptychForConditionalGeneration",
            f"{name}ForSequenceClassification": "TriptychForSequenceClassification",
            f"{name}ForQuestionAnswering": "TriptychForQuestionAnswering",
        },
        fields={
            **{hf_name: name for hf_name, name in ENCODER_FIELDS.items() if hf_name != "num_layers"},
            "num_layers": "encoder_layers",
            "num_decoder_layers": "decoder_layers",
        },
        refused={"is_decoder": ((False,), "a decoder on its own")},
        rules=(
            *rules({"{side}.embed_tokens": "embed_tokens", "lm_head": "lm_head"}),
            *rules({"shared": "embed_tokens"}, Copied()),
            *rules({f"{{side}}.{hf_name}": f"{{side}}.{target}" for hf_name, target in STACK.items()}),
            *rules({f"decoder.{hf_name}": f"decoder.{target}" for hf_name, target in CROSS_ATTENTION.items()}),
            *rules({f"encoder.{hf_name}": f"encoder.{target}" for hf_name, target in feed_forward(1).items()}),
            *rules({f"decoder.{hf_name}": f"decoder.{target}" for hf_name, target in feed_forward(2).items()}),
            *rules(
                {
                    "classification_head.dense": "classifier.dense",
                    "classification_head.out_proj": "classifier.out_proj",
                    "qa_outputs": "qa_outputs",
                }
            ),
        ),
        **options,
    )


def encoder(model_type: str, name: str) -> Architecture:
    """The encoder of T5 alone."""
    return Architecture(
        model_type=model_type,
        config_class=TriptychEncoderConfig,
        heads={
            f"{name}EncoderModel": "TriptychEncoderModel",
            f"{name}ForTokenClassification": "TriptychEncoderForTokenClassification",
        },
        fields=ENCODER_FIELDS,
        fixed={**FIXED, "type_vocab_size": 0, "embedding_norm": False, "pooler": "none"},
        refused={"is_decoder": ((False,), "a decoder on its own")},
        read=read,
        write=write_encoder,
        rules=(
            *rules({"encoder.embed_tokens": "embed_tokens", "classifier": "classifier"}),
            *rules({"shared": "embed_tokens"}, Copied()),
            *rules({f"encoder.{hf_name}": target for hf_name, target in {**STACK, **feed_forward(1)}.items()}),
        ),
    )


WHOLE = {**FIXED, "label_smoothing": 0.0}
T5 = encoder_decoder("t5", "T5", fixed=WHOLE, read=read_scaled, write=write_scaled)
T5_ENCODER = encoder("t5", "T5")
MT5 = encoder_decoder("mt5", "MT5", fixed={**WHOLE, "tie_word_embeddings": False}, read=read, write=write_tied)
MT5_ENCODER = encoder("mt5", "MT5")
