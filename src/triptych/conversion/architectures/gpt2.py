"""GPT-2 (Radford et al. 2019)."""

from typing import Any

from ...configuration import TriptychDecoderConfig
from ..rules import rules
from ..shared.decoders import heads, read_token_dropout, write_token_dropout
from ..shared.gpt import FIELDS, MAPS
from ..table import Architecture


def read(hf_config: Any, head: str) -> dict[str, Any]:
    return {
        "intermediate_size": hf_config.n_inner or 4 * hf_config.n_embd,
        "attention_scale": None if hf_config.scale_attn_weights else 1.0,
        **read_token_dropout(hf_config, head),
    }


def write(config: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    standard = config.intermediate_size == 4 * config.hidden_size
    return {
        **({} if standard else {"n_inner": config.intermediate_size}),
        "scale_attn_weights": config.attention_scale is None,
        **write_token_dropout(config, head),
    }


GPT2 = Architecture(
    model_type="gpt2",
    config_class=TriptychDecoderConfig,
    heads={
        **heads("GPT2", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"),
        "GPT2LMHeadModel": "TriptychDecoderForCausalLM",
    },
    fields={**FIELDS, "activation_function": "activation"},
    read=read,
    write=write,
    refused={
        "scale_attn_by_inverse_layer_idx": ((False,), "scores divided by the number of the layer"),
        "add_cross_attention": ((False,), "cross-attention without an encoder"),
    },
    rules=(
        *rules(
            {
                "wte": "embed_tokens",
                "wpe": "positions.table",
                "h.{i}.ln_1": "layers.{i}.norms.self_attention",
                "h.{i}.ln_2": "layers.{i}.norms.feed_forward",
                "ln_f": "norm",
                "lm_head": "lm_head",
                "score": "score",
                "classifier": "score",
                "qa_outputs": "qa_outputs",
            }
        ),
        *MAPS,
    ),
)
