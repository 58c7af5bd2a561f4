"""Falcon (Almazrouei et al. 2023): 7B has one key and value head, 40B and later have groups."""

from typing import Any

from ...configuration import TriptychDecoderConfig
from ..arrangements import FusedAttention
from ..rules import Rule, rules
from ..shared.decoders import HEADS, QUERIES_KEYS_VALUES, SIZES, heads, rotation, write_rotation
from ..table import Architecture

RESIDUALS = {1: "parallel", 2: "parallel_norms"}  # by the number of norms in front of the two sublayers


def read(hf_config: Any, head: str) -> dict[str, Any]:
    if hf_config.new_decoder_architecture:
        kind, groups = RESIDUALS[hf_config.num_ln_in_parallel_attn or 2], hf_config.num_kv_heads
    else:
        kind = "parallel" if hf_config.parallel_attn else "pre"
        groups = 1 if hf_config.multi_query else hf_config.num_attention_heads
    return {
        "residual": kind,
        "num_key_value_heads": groups,
        "attention_output_bias": hf_config.bias,
        "feed_forward_bias": hf_config.bias,
        "origin": {"new_decoder_architecture": hf_config.new_decoder_architecture},
        **rotation(hf_config),
    }


def write(config: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    one_each, one_for_all = config.num_key_value_heads == config.num_attention_heads, config.num_key_value_heads == 1
    fields: dict[str, Any] = {"parallel_attn": config.residual != "pre", **write_rotation(config)}
    # Both architectures can express some models; the checkpoint says which one it used.
    is_new = (config.origin or {}).get("new_decoder_architecture", False)
    if config.residual == "pre" or (config.residual == "parallel" and (one_each or one_for_all) and not is_new):
        return {**fields, "new_decoder_architecture": False, "multi_query": one_for_all}
    norms = next((n for n, name in RESIDUALS.items() if name == config.residual), None)
    new = {} if is_new else {"new_decoder_architecture": True}
    return {**fields, **new, "num_ln_in_parallel_attn": norms, "num_kv_heads": config.num_key_value_heads}


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
        *rules(  # 40B; if the sublayers follow each other, the first norm has the same name as in 7B
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
