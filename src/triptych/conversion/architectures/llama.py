"""Llama (Touvron et al. 2023), Mistral (Jiang et al. 2023), Phi-3 (Abdin et al. 2024), Qwen2 (Yang et al. 2024)."""

from typing import Any

from ...configuration import TriptychDecoderConfig
from ..arrangements import FusedAttention, Stacked
from ..rules import Rule, rules
from ..shared.decoders import (
    HEADS,
    QUERIES_KEYS_VALUES,
    SIZES,
    bands,
    heads,
    partial_rotation,
    read_token_dropout,
    rotation,
    write_partial_rotation,
    write_rotation,
    write_token_dropout,
)
from ..table import Architecture, CannotExpress

FIELDS = {
    **SIZES,
    "num_key_value_heads": "num_key_value_heads",
    "intermediate_size": "intermediate_size",
    "hidden_act": "activation",
    "rms_norm_eps": "norm_eps",
    "initializer_range": "initializer_range",
}
BLOCK = {
    "positions": "rotary",
    "residual": "pre",
    "norm": "rms",
    "feed_forward": "gated",
    "attention_bias": False,
    "attention_output_bias": False,
    "feed_forward_bias": False,
    "dropout": 0.0,
}
RULES = rules(
    {
        "embed_tokens": "embed_tokens",
        "layers.{i}.self_attn.q_proj": "layers.{i}.self_attention.q_proj",
        "layers.{i}.self_attn.k_proj": "layers.{i}.self_attention.k_proj",
        "layers.{i}.self_attn.v_proj": "layers.{i}.self_attention.v_proj",
        "layers.{i}.self_attn.o_proj": "layers.{i}.self_attention.o_proj",
        "layers.{i}.mlp.gate_proj": "layers.{i}.feed_forward.gate_proj",
        "layers.{i}.mlp.up_proj": "layers.{i}.feed_forward.up_proj",
        "layers.{i}.mlp.down_proj": "layers.{i}.feed_forward.down_proj",
        "layers.{i}.input_layernorm": "layers.{i}.norms.self_attention",
        "layers.{i}.post_attention_layernorm": "layers.{i}.norms.feed_forward",
        "norm": "norm",
        "lm_head": "lm_head",
        "score": "score",
        "qa_outputs": "qa_outputs",
    }
)


def read_llama(hf_config: Any, head: str) -> dict[str, Any]:
    return {
        "attention_output_bias": hf_config.attention_bias,
        **rotation(hf_config),
        **read_token_dropout(hf_config, head),
    }


def write_llama(config: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    return {**write_rotation(config), **write_token_dropout(config, head)}


def read_mistral(hf_config: Any, head: str) -> dict[str, Any]:
    return {
        **bands([hf_config.sliding_window or "full"]),
        **rotation(hf_config),
        **read_token_dropout(hf_config, head),
    }


def write_mistral(config: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    return {"sliding_window": config.sliding_window, **write_llama(config, head)}


def read_qwen2(hf_config: Any, head: str) -> dict[str, Any]:
    seen = {"full_attention": "full", "sliding_attention": hf_config.sliding_window}
    return {
        "head_dim": getattr(hf_config, "head_dim", None),
        **bands([seen[kind] for kind in hf_config.layer_types]),
        **rotation(hf_config),
        **read_token_dropout(hf_config, head),
    }


def write_qwen2(config: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    fields = {"layer_types": config.layer_types, **write_llama(config, head)}
    if config.sliding_window is not None:  # else transformers may have a width that no layer uses
        fields |= {"use_sliding_window": True, "sliding_window": config.sliding_window}
    if (
        config.head_dim * config.num_attention_heads != config.hidden_size
    ):  # else transformers has no such field, and needs none
        fields["head_dim"] = config.head_dim
    return fields


def read_phi3(hf_config: Any, head: str) -> dict[str, Any]:
    if hf_config.rope_parameters["rope_type"] != "default":
        raise CannotExpress("Phi3Config has longrope, which computes the whole cache again when a text grows long")
    return {
        **bands([hf_config.sliding_window or "full"]),
        **partial_rotation(hf_config),
        **read_token_dropout(hf_config, head),
    }


def write_phi3(config: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    return {
        "sliding_window": config.sliding_window,
        **write_partial_rotation(config),
        **write_token_dropout(config, head),
    }


LLAMA = Architecture(
    model_type="llama",
    config_class=TriptychDecoderConfig,
    heads=heads("Llama", *HEADS),
    fields={**FIELDS, "head_dim": "head_dim", "attention_bias": "attention_bias", "mlp_bias": "feed_forward_bias"},
    fixed={name: value for name, value in BLOCK.items() if not name.endswith("_bias")},
    read=read_llama,
    write=write_llama,
    rules=RULES,
)
MISTRAL = Architecture(
    model_type="mistral",
    config_class=TriptychDecoderConfig,
    heads=heads("Mistral", *HEADS),
    fields={**FIELDS, "head_dim": "head_dim"},
    fixed=BLOCK,
    read=read_mistral,
    write=write_mistral,
    rules=RULES,
)
PHI3 = Architecture(
    model_type="phi3",
    config_class=TriptychDecoderConfig,
    heads=heads("Phi3", "ForCausalLM", "ForSequenceClassification", "ForTokenClassification"),
    fields={**FIELDS, "resid_pdrop": "dropout"},
    fixed={name: value for name, value in BLOCK.items() if name != "dropout"},
    read=read_phi3,
    write=write_phi3,
    rules=(
        *RULES,
        Rule("layers.{i}.self_attn.qkv_proj", QUERIES_KEYS_VALUES, FusedAttention()),
        Rule(
            "layers.{i}.mlp.gate_up_proj",
            ("layers.{i}.feed_forward.gate_proj", "layers.{i}.feed_forward.up_proj"),
            Stacked(),
        ),
    ),
)
QWEN2 = Architecture(
    model_type="qwen2",
    config_class=TriptychDecoderConfig,
    heads=heads("Qwen2", *HEADS),
    fields=FIELDS,
    fixed={**BLOCK, "attention_bias": True},
    read=read_qwen2,
    write=write_qwen2,
    rules=RULES,
)
