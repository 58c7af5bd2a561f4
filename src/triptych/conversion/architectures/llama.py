"""Llama (Touvron et al. 2023), Mistral (Jiang et al. 2023), Phi-3 (Abdin et al. 2024), Qwen2 (Yang et al. 2024)."""

from functools import partial
from typing import Any

from ...configuration import TriptychDecoderConfig
from ...configuration.patterns import shortest_pattern
from ..architecture import Architecture, CannotExpress, named_alike
from ..arrangements import FusedAttention, Stacked
from ..rules import Rule, rules

QUERIES_KEYS_VALUES = tuple(f"layers.{{i}}.self_attention.{name}" for name in ("q_proj", "k_proj", "v_proj"))
heads = partial(named_alike, "TriptychDecoder")
HEADS = ("ForCausalLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
# What most decoders call as ours do.
SIZES = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "attention_dropout": "attention_dropout",
}
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


def rotation(theirs: Any) -> dict[str, Any]:
    """The rotary positions of an architecture that turns all of a head.

    Raises:
        CannotExpress: a part of each head, which only some of the scalings would heed there.
    """
    part = theirs.rope_parameters.get("partial_rotary_factor", 1.0)
    if part != 1.0:
        raise CannotExpress(f"{type(theirs).__name__} has partial_rotary_factor={part}, which its rotation ignores")
    return {"rope_parameters": dict(theirs.rope_parameters)}


def partial_rotation(theirs: Any) -> dict[str, Any]:
    """The rotary positions of an architecture that turns the first dimensions of a head."""
    rope, width = dict(theirs.rope_parameters), theirs.hidden_size // theirs.num_attention_heads
    rotated = int(width * rope.pop("partial_rotary_factor", 1.0))
    return {"rope_parameters": rope, "rotary_dim": None if rotated == width else rotated}


def write_partial_rotation(ours: TriptychDecoderConfig) -> dict[str, Any]:
    return {"rope_parameters": {"partial_rotary_factor": 1.0, **(ours.rope_parameters or {})}}


TOKEN_DROPOUT = 0.1  # before their classifier of tokens, where their configuration names none


def read_token_dropout(theirs: Any, head: str) -> dict[str, Any]:
    """The dropout before a classifier of tokens, of which their configuration need not say anything."""
    if not head.endswith("ForTokenClassification"):
        return {}
    named = getattr(theirs, "classifier_dropout", None)
    return {"classifier_dropout": TOKEN_DROPOUT if named is None else named}


def write_token_dropout(ours: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    rate = ours.classifier_dropout_rate
    own = head.endswith("ForTokenClassification") and rate != TOKEN_DROPOUT
    return {"classifier_dropout": rate} if own else {}


def bands(kinds: list[str | int]) -> dict[str, Any]:
    """The shortest pattern that gives what each layer sees: "full", or the width of a band."""
    return {"attention_pattern": shortest_pattern(kinds)}


def write_rotation(ours: TriptychDecoderConfig) -> dict[str, Any]:
    return {"rope_parameters": dict(ours.rope_parameters or {})}


def read_llama(theirs: Any, head: str) -> dict[str, Any]:
    return {"attention_output_bias": theirs.attention_bias, **rotation(theirs), **read_token_dropout(theirs, head)}


def write_llama(ours: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    return {**write_rotation(ours), **write_token_dropout(ours, head)}


def read_mistral(theirs: Any, head: str) -> dict[str, Any]:
    return {**bands([theirs.sliding_window or "full"]), **rotation(theirs), **read_token_dropout(theirs, head)}


def write_mistral(ours: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    return {"sliding_window": ours.sliding_window, **write_llama(ours, head)}


def read_qwen2(theirs: Any, head: str) -> dict[str, Any]:
    seen = {"full_attention": "full", "sliding_attention": theirs.sliding_window}
    return {
        "head_dim": getattr(theirs, "head_dim", None),
        **bands([seen[kind] for kind in theirs.layer_types]),
        **rotation(theirs),
        **read_token_dropout(theirs, head),
    }


def write_qwen2(ours: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    fields = {"layer_types": ours.layer_types, **write_llama(ours, head)}
    if ours.sliding_window is not None:  # else theirs may have a width that no layer uses
        fields |= {"use_sliding_window": True, "sliding_window": ours.sliding_window}
    if ours.head_dim * ours.num_attention_heads != ours.hidden_size:  # else it needs no field, and theirs has none
        fields["head_dim"] = ours.head_dim
    return fields


def read_phi3(theirs: Any, head: str) -> dict[str, Any]:
    if theirs.rope_parameters["rope_type"] != "default":
        raise CannotExpress("Phi3Config has longrope, with which it computes its cache anew when a text grows long")
    return {**bands([theirs.sliding_window or "full"]), **partial_rotation(theirs), **read_token_dropout(theirs, head)}


def write_phi3(ours: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    return {
        "sliding_window": ours.sliding_window,
        **write_partial_rotation(ours),
        **write_token_dropout(ours, head),
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
