"""OPT (Zhang et al. 2022)."""

from typing import Any

from ...configuration import TriptychDecoderConfig
from ..rules import rules
from ..shared.decoders import SIZES, heads
from ..table import Architecture, CannotExpress


def read(hf_config: Any, head: str) -> dict[str, Any]:
    if hf_config.word_embed_proj_dim != hf_config.hidden_size:
        raise CannotExpress(
            f"OPTConfig has word_embed_proj_dim={hf_config.word_embed_proj_dim} and hidden_size="
            f"{hf_config.hidden_size}, so it has maps between the embeddings and the layers: Triptych has no such "
            "thing"
        )
    return {
        "residual": "pre" if hf_config.do_layer_norm_before else "post",
        "attention_output_bias": hf_config.enable_bias,
        "feed_forward_bias": hf_config.enable_bias,
    }


def write(config: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    return {"do_layer_norm_before": config.residual == "pre", "word_embed_proj_dim": config.hidden_size}


OPT = Architecture(
    model_type="opt",
    config_class=TriptychDecoderConfig,
    heads=heads("OPT", "ForCausalLM", "ForSequenceClassification", "ForQuestionAnswering"),
    fields={
        **SIZES,
        "ffn_dim": "intermediate_size",
        "activation_function": "activation",
        "dropout": "dropout",
        "init_std": "initializer_range",
        "enable_bias": "attention_bias",
    },
    fixed={"position_offset": 2, "norm_eps": 1e-5},
    masked_positions="skipped",
    read=read,
    write=write,
    refused={
        "layer_norm_elementwise_affine": ((True,), "norms without a gain"),
        "_remove_final_layer_norm": ((False,), "no norm at the end"),
    },
    rules=rules(
        {
            "decoder.embed_tokens": "embed_tokens",
            "decoder.embed_positions": "positions.table",
            "decoder.layers.{i}.self_attn.q_proj": "layers.{i}.self_attention.q_proj",
            "decoder.layers.{i}.self_attn.k_proj": "layers.{i}.self_attention.k_proj",
            "decoder.layers.{i}.self_attn.v_proj": "layers.{i}.self_attention.v_proj",
            "decoder.layers.{i}.self_attn.out_proj": "layers.{i}.self_attention.o_proj",
            "decoder.layers.{i}.self_attn_layer_norm": "layers.{i}.norms.self_attention",
            "decoder.layers.{i}.fc1": "layers.{i}.feed_forward.up_proj",
            "decoder.layers.{i}.fc2": "layers.{i}.feed_forward.down_proj",
            "decoder.layers.{i}.final_layer_norm": "layers.{i}.norms.feed_forward",
            "decoder.final_layer_norm": "norm",
            "lm_head": "lm_head",
            "score": "score",
            "qa_outputs": "qa_outputs",
        }
    ),
)
