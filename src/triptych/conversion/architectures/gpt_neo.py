"""GPT-Neo (Black et al. 2021): layers that see all tokens alternate with layers that see a band, as in GPT-3."""

from typing import Any

from ...configuration import TriptychDecoderConfig
from ..rules import rules
from ..shared.decoders import HEADS, bands, heads
from ..table import Architecture

WORDS = {"full_attention": "global", "sliding_attention": "local"}


def read(hf_config: Any, head: str) -> dict[str, Any]:
    seen = {"global": "full", "local": hf_config.window_size}
    return {
        "intermediate_size": hf_config.intermediate_size or 4 * hf_config.hidden_size,
        "origin": {"attention_types": hf_config.attention_types},
        "classifier_dropout": hf_config.classifier_dropout,
        **bands([seen[kind] for kind in hf_config.attention_layers]),
    }


def write(config: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    layers = [WORDS[kind] for kind in config.layer_types or []]
    fields: dict[str, Any] = {"attention_layers": layers, "classifier_dropout": config.classifier_dropout_rate}
    given = (config.origin or {}).get("attention_types", [])
    if [kind for kinds, times in given for kind in times * kinds] != layers:  # else the noted types are the same
        pattern = [WORDS[config.attention_kind(i)] for i in range(len(config.attention_pattern or [""]))]
        whole = len(layers) % len(pattern) == 0
        fields["attention_types"] = [[pattern, len(layers) // len(pattern)]] if whole else [[layers, 1]]
    if config.sliding_window is not None:
        fields["window_size"] = config.sliding_window
    if config.intermediate_size != 4 * config.hidden_size:
        fields["intermediate_size"] = config.intermediate_size
    return fields


GPT_NEO = Architecture(
    model_type="gpt_neo",
    config_class=TriptychDecoderConfig,
    heads=heads("GPTNeo", *HEADS),
    fields={
        "vocab_size": "vocab_size",
        "max_position_embeddings": "max_position_embeddings",
        "hidden_size": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "activation_function": "activation",
        "resid_dropout": "dropout",
        "attention_dropout": "attention_dropout",
        "layer_norm_epsilon": "norm_eps",
        "initializer_range": "initializer_range",
    },
    fixed={"attention_bias": False, "attention_scale": 1.0},
    read=read,
    write=write,
    rules=rules(
        {
            "wte": "embed_tokens",
            "wpe": "positions.table",
            "h.{i}.ln_1": "layers.{i}.norms.self_attention",
            "h.{i}.attn.attention.q_proj": "layers.{i}.self_attention.q_proj",
            "h.{i}.attn.attention.k_proj": "layers.{i}.self_attention.k_proj",
            "h.{i}.attn.attention.v_proj": "layers.{i}.self_attention.v_proj",
            "h.{i}.attn.attention.out_proj": "layers.{i}.self_attention.o_proj",
            "h.{i}.ln_2": "layers.{i}.norms.feed_forward",
            "h.{i}.mlp.c_fc": "layers.{i}.feed_forward.up_proj",
            "h.{i}.mlp.c_proj": "layers.{i}.feed_forward.down_proj",
            "ln_f": "norm",
            "lm_head": "lm_head",
            "score": "score",
            "classifier": "score",
            "qa_outputs": "qa_outputs",
        }
    ),
)
