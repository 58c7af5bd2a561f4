"""GPT (Radford et al. 2018)."""

from typing import Any

from ...configuration import TriptychDecoderConfig
from ..architecture import Architecture, CannotExpress
from ..rules import rules
from .gpt2 import FIELDS, MAPS
from .llama import heads

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
    fields=FIELDS,
    fixed={"residual": "post"},
    read=read,
    write=write,
    rules=(
        *rules(
            {
                "tokens_embed": "embed_tokens",
                "positions_embed": "positions.table",
                "h.{i}.ln_1": "layers.{i}.norms.self_attention",
                "h.{i}.ln_2": "layers.{i}.norms.feed_forward",
                "lm_head": "lm_head",
                "score": "score",
            }
        ),
        *MAPS,
    ),
)
