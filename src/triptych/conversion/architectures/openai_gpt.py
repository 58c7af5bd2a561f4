"""GPT (Radford et al. 2018)."""

from typing import Any

from ...configuration import TriptychDecoderConfig
from ..rules import rules
from ..shared.decoders import heads
from ..shared.gpt import FIELDS, MAPS
from ..table import Architecture, CannotExpress

# {activation in transformers: activation in Triptych}; what this architecture calls gelu is the approximation with
# tanh.
ACTIVATIONS = {"gelu": "gelu_new", "relu": "relu", "silu": "silu", "swish": "swish"}


def read(hf_config: Any, head: str) -> dict[str, Any]:
    return {"intermediate_size": 4 * hf_config.n_embd, "activation": ACTIVATIONS[hf_config.afn]}


def write(config: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    found = [hf_name for hf_name, name in ACTIVATIONS.items() if name == config.activation]
    if not found:
        raise CannotExpress(f"openai-gpt has no activation {config.activation!r}; it has {', '.join(ACTIVATIONS)}")
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
