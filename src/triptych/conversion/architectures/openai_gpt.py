"""GPT (Radford et al. 2018)."""

from typing import Any

from ...configuration import TriptychDecoderConfig
from ..architecture import Architecture, CannotExpress
from ..arrangements import Chain, FusedAttention, Transposed
from ..rules import Rule, rules
from .llama import QUERIES_KEYS_VALUES, heads

# Their words for activations; what they call gelu is its approximation with tanh.
ACTIVATIONS = {"gelu": "gelu_new", "relu": "relu", "silu": "silu", "swish": "swish"}


def read(theirs: Any, head: str) -> dict[str, Any]:
    return {"intermediate_size": 4 * theirs.n_embd, "activation": ACTIVATIONS[theirs.afn]}


def write(ours: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    found = [theirs for theirs, name in ACTIVATIONS.items() if name == ours.activation]
    if not found:
        raise CannotExpress(f"openai-gpt has no activation {ours.activation!r}; it has {', '.join(ACTIVATIONS)}")
    return {"afn": found[0]}


OPENAI_GPT = Architecture(
    model_type="openai-gpt",
    config_class=TriptychDecoderConfig,
    heads={"OpenAIGPTLMHeadModel": "TriptychDecoderForCausalLM", **heads("OpenAIGPT", "ForSequenceClassification")},
    fields={
        "vocab_size": "vocab_size",
        "n_positions": "max_position_embeddings",
        "n_embd": "hidden_size",
        "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
        "resid_pdrop": "dropout",
        "attn_pdrop": "attention_dropout",
        "layer_norm_epsilon": "norm_eps",
        "initializer_range": "initializer_range",
    },
    fixed={"residual": "post"},
    read=read,
    write=write,
    rules=(
        *rules(
            {
                "tokens_embed": "embed_tokens",
                "positions_embed": "positions.table",
                "h.{i}.ln_1": "layers.{i}.residual.norms.self_attention",
                "h.{i}.ln_2": "layers.{i}.residual.norms.feed_forward",
                "lm_head": "lm_head",
                "score": "classifier",
            }
        ),
        *rules(
            {
                "h.{i}.attn.c_proj": "layers.{i}.self_attention.o_proj",
                "h.{i}.mlp.c_fc": "layers.{i}.feed_forward.up_proj",
                "h.{i}.mlp.c_proj": "layers.{i}.feed_forward.down_proj",
            },
            Transposed(),
        ),
        Rule("h.{i}.attn.c_attn", QUERIES_KEYS_VALUES, Chain(Transposed(), FusedAttention())),
    ),
)
