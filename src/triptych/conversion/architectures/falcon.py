"""Falcon (Almazrouei et al. 2023): 7B with one key head for all, 40B and later with groups of heads."""

from typing import Any

from ...configuration import TriptychDecoderConfig
from ..architecture import Architecture
from ..arrangements import FusedAttention
from ..rules import Rule, rules
from .llama import HEADS, QUERIES_KEYS_VALUES, SIZES, heads, rotation, write_rotation

RESIDUALS = {1: "parallel", 2: "parallel_norms"}  # by the number of norms in front of the two sublayers


def read(theirs: Any, head: str) -> dict[str, Any]:
    if theirs.new_decoder_architecture:
        kind, groups = RESIDUALS[theirs.num_ln_in_parallel_attn or 2], theirs.num_kv_heads
    else:
        kind = "parallel" if theirs.parallel_attn else "pre"
        groups = 1 if theirs.multi_query else theirs.num_attention_heads
    return {
        "residual": kind,
        "num_key_value_heads": groups,
        "attention_output_bias": theirs.bias,
        "feed_forward_bias": theirs.bias,
        "origin": {"new_decoder_architecture": theirs.new_decoder_architecture},
        **rotation(theirs),
    }


def write(ours: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    one_each, one_for_all = ours.num_key_value_heads == ours.num_attention_heads, ours.num_key_value_heads == 1
    fields: dict[str, Any] = {"parallel_attn": ours.residual != "pre", **write_rotation(ours)}
    said = (ours.origin or {}).get("new_decoder_architecture", False)  # of what both architectures can express
    if ours.residual == "pre" or (ours.residual == "parallel" and (one_each or one_for_all) and not said):
        return {**fields, "new_decoder_architecture": False, "multi_query": one_for_all}
    norms = next((n for n, name in RESIDUALS.items() if name == ours.residual), None)
    new = {} if said else {"new_decoder_architecture": True}
    return {**fields, **new, "num_ln_in_parallel_attn": norms, "num_kv_heads": ours.num_key_value_heads}


FALCON = Architecture(
    model_type="falcon",
    config_class=TriptychDecoderConfig,
    heads=heads("Falcon", *HEADS),
    fields={
        **SIZES,
        "ffn_hidden_size": "intermediate_size",
        "activation": "activation",
        "hidden_dropout": "dropout",
        "layer_norm_epsilon": "norm_eps",
        "initializer_range": "initializer_range",
        "bias": "attention_bias",
    },
    fixed={"positions": "rotary"},
    refused={"alibi": ((False,), "ALiBi, a bias of the scores that grows with the distance")},
    read=read,
    write=write,
    rules=(
        *rules(
            {
                "word_embeddings": "embed_tokens",
                "h.{i}.input_layernorm": "layers.{i}.norms.shared",
                "h.{i}.self_attention.dense": "layers.{i}.self_attention.o_proj",
                "h.{i}.mlp.dense_h_to_4h": "layers.{i}.feed_forward.up_proj",
                "h.{i}.mlp.dense_4h_to_h": "layers.{i}.feed_forward.down_proj",
                "ln_f": "norm",
                "lm_head": "lm_head",
                "score": "score",
                "classifier": "score",
                "qa_outputs": "qa_outputs",
            }
        ),
        *rules(  # 40B; in a layer of one sublayer after the other, the first norm has the name it has in 7B
            {
                "h.{i}.ln_attn": "layers.{i}.norms.self_attention",
                "h.{i}.input_layernorm": "layers.{i}.norms.self_attention",
                "h.{i}.ln_mlp": "layers.{i}.norms.feed_forward",
                "h.{i}.post_attention_layernorm": "layers.{i}.norms.feed_forward",
            }
        ),
        Rule(
            "h.{i}.self_attention.query_key_value",
            QUERIES_KEYS_VALUES,
            FusedAttention(lambda config: config.num_key_value_heads),
        ),
    ),
)
