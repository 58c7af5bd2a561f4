"""GPT-NeoX (Black et al. 2022), also Pythia (Biderman et al. 2023)."""

from typing import Any

from ...configuration import TriptychDecoderConfig
from ..arrangements import FusedAttention
from ..rules import Rule, rules
from ..shared.decoders import HEADS, QUERIES_KEYS_VALUES, SIZES, heads, partial_rotation, write_partial_rotation
from ..table import Architecture


def read(hf_config: Any, head: str) -> dict[str, Any]:
    return {
        "residual": "parallel_norms" if hf_config.use_parallel_residual else "pre",
        "attention_output_bias": hf_config.attention_bias,
        "classifier_dropout": hf_config.classifier_dropout,
        **partial_rotation(hf_config),
    }


def write(config: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    return {
        "use_parallel_residual": config.residual == "parallel_norms",
        "classifier_dropout": config.classifier_dropout_rate,
        **write_partial_rotation(config),
    }


GPT_NEOX = Architecture(
    model_type="gpt_neox",
    config_class=TriptychDecoderConfig,
    heads=heads("GPTNeoX", *HEADS),
    fields={
        **SIZES,
        "intermediate_size": "intermediate_size",
        "hidden_act": "activation",
        "hidden_dropout": "dropout",
        "layer_norm_eps": "norm_eps",
        "initializer_range": "initializer_range",
        "attention_bias": "attention_bias",
    },
    fixed={"positions": "rotary"},
    read=read,
    write=write,
    rules=(
        *rules(
            {
                "embed_in": "embed_tokens",
                "layers.{i}.input_layernorm": "layers.{i}.norms.self_attention",
                "layers.{i}.attention.dense": "layers.{i}.self_attention.o_proj",
                "layers.{i}.post_attention_layernorm": "layers.{i}.norms.feed_forward",
                "layers.{i}.mlp.dense_h_to_4h": "layers.{i}.feed_forward.up_proj",
                "layers.{i}.mlp.dense_4h_to_h": "layers.{i}.feed_forward.down_proj",
                "final_layer_norm": "norm",
                "lm_head": "lm_head",
                "score": "score",
                "classifier": "score",
                "qa_outputs": "qa_outputs",
            }
        ),
        Rule(
            "layers.{i}.attention.query_key_value",
            QUERIES_KEYS_VALUES,
            FusedAttention(lambda config: config.num_attention_heads),
        ),
    ),
)
