"""GPT-2 (Radford et al. 2019)."""

from typing import Any

from ...configuration import TriptychDecoderConfig
from ..architecture import Architecture
from ..arrangements import Chain, FusedAttention, Transposed
from ..rules import Rule, rules
from .llama import QUERIES_KEYS_VALUES, heads, read_token_dropout, write_token_dropout

# What GPT and GPT-J call alike.
FIELDS = {
    "vocab_size": "vocab_size",
    "n_positions": "max_position_embeddings",
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "resid_pdrop": "dropout",
    "attn_pdrop": "attention_dropout",
    "layer_norm_epsilon": "norm_eps",
    "initializer_range": "initializer_range",
}
# The maps of GPT's layers, which are Conv1D.
MAPS = (
    *rules(
        {
            "h.{i}.attn.c_proj": "layers.{i}.self_attention.o_proj",
            "h.{i}.mlp.c_fc": "layers.{i}.feed_forward.up_proj",
            "h.{i}.mlp.c_proj": "layers.{i}.feed_forward.down_proj",
        },
        Transposed(),
    ),
    Rule("h.{i}.attn.c_attn", QUERIES_KEYS_VALUES, Chain(Transposed(), FusedAttention())),
)


def read(theirs: Any, head: str) -> dict[str, Any]:
    return {
        "intermediate_size": theirs.n_inner or 4 * theirs.n_embd,
        "attention_scale": None if theirs.scale_attn_weights else 1.0,
        **read_token_dropout(theirs, head),
    }


def write(ours: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    standard = ours.intermediate_size == 4 * ours.hidden_size
    return {
        **({} if standard else {"n_inner": ours.intermediate_size}),
        "scale_attn_weights": ours.attention_scale is None,
        **write_token_dropout(ours, head),
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
