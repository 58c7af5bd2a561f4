"""GPT-J (Wang & Komatsuzaki 2021)."""

from typing import Any

from ...configuration import TriptychDecoderConfig
from ..arrangements import RotaryPairs
from ..rules import rules
from ..shared.decoders import heads
from ..shared.gpt import FIELDS
from ..table import Architecture


def read(hf_config: Any, head: str) -> dict[str, Any]:
    return {
        "intermediate_size": hf_config.n_inner or 4 * hf_config.n_embd,
        "rotary_dim": None if hf_config.rotary_dim == hf_config.n_embd // hf_config.n_head else hf_config.rotary_dim,
    }


def write(config: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    inner = {} if config.intermediate_size == 4 * config.hidden_size else {"n_inner": config.intermediate_size}
    return {**inner, "rotary_dim": config.rotary_dim or config.head_dim}


GPTJ = Architecture(
    model_type="gptj",
    config_class=TriptychDecoderConfig,
    heads=heads("GPTJ", "ForCausalLM", "ForSequenceClassification", "ForQuestionAnswering"),
    fields={**FIELDS, "activation_function": "activation"},
    fixed={
        "positions": "rotary",
        "residual": "parallel",
        "attention_bias": False,
        "attention_output_bias": False,
        "head_bias": True,
    },
    read=read,
    write=write,
    rules=(
        *rules(
            {
                "wte": "embed_tokens",
                "h.{i}.ln_1": "layers.{i}.norms.shared",
                "h.{i}.attn.v_proj": "layers.{i}.self_attention.v_proj",
                "h.{i}.attn.out_proj": "layers.{i}.self_attention.o_proj",
                "h.{i}.mlp.fc_in": "layers.{i}.feed_forward.up_proj",
                "h.{i}.mlp.fc_out": "layers.{i}.feed_forward.down_proj",
                "ln_f": "norm",
                "lm_head": "lm_head",
                "score": "score",
                "qa_outputs": "qa_outputs",
            }
        ),
        *rules(
            {
                "h.{i}.attn.q_proj": "layers.{i}.self_attention.q_proj",
                "h.{i}.attn.k_proj": "layers.{i}.self_attention.k_proj",
            },
            RotaryPairs(),
        ),
    ),
    sinusoids=("attn.embed_positions", "concatenated"),
)
