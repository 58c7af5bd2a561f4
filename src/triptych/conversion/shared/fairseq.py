"""What the tables of encoder–decoders from fairseq and Marian share: BART, M2M-100, FSMT, Marian, PEGASUS."""

from typing import Any

from ...configuration import TriptychConfig
from ..arrangements import Copied, Row
from ..rules import computed, rules
from ..table import Architecture, CannotExpress

LAYERS = {
    "{side}.layers.{i}.self_attn.q_proj": "{side}.layers.{i}.self_attention.q_proj",
    "{side}.layers.{i}.self_attn.k_proj": "{side}.layers.{i}.self_attention.k_proj",
    "{side}.layers.{i}.self_attn.v_proj": "{side}.layers.{i}.self_attention.v_proj",
    "{side}.layers.{i}.self_attn.out_proj": "{side}.layers.{i}.self_attention.o_proj",
    "{side}.layers.{i}.self_attn_layer_norm": "{side}.layers.{i}.norms.self_attention",
    "{side}.layers.{i}.encoder_attn.q_proj": "{side}.layers.{i}.cross_attention.q_proj",
    "{side}.layers.{i}.encoder_attn.k_proj": "{side}.layers.{i}.cross_attention.k_proj",
    "{side}.layers.{i}.encoder_attn.v_proj": "{side}.layers.{i}.cross_attention.v_proj",
    "{side}.layers.{i}.encoder_attn.out_proj": "{side}.layers.{i}.cross_attention.o_proj",
    "{side}.layers.{i}.encoder_attn_layer_norm": "{side}.layers.{i}.norms.cross_attention",
    "{side}.layers.{i}.fc1": "{side}.layers.{i}.feed_forward.up_proj",
    "{side}.layers.{i}.fc2": "{side}.layers.{i}.feed_forward.down_proj",
    "{side}.layers.{i}.final_layer_norm": "{side}.layers.{i}.norms.feed_forward",
    "{side}.layer_norm": "{side}.norm",
}
# Each stack uses a separate matrix. `shared` is the same matrix if all are tied; otherwise no stack uses it.
EMBEDDINGS = (
    *rules({"encoder.embed_tokens": "embed_tokens", "decoder.embed_tokens": "decoder_embed_tokens"}),
    *rules({"decoder.embed_tokens": "embed_tokens", "lm_head": "lm_head"}),
    *rules({"shared": "embed_tokens"}, Copied()),
)
# The table is a weight where positions are learned; otherwise it is computed.
TABLES = (
    *rules({"{side}.embed_positions": "{side}.positions.table"}),
    *computed("{side}.embed_positions"),
)
FIELDS = {
    "vocab_size": "vocab_size",
    "d_model": "hidden_size",
    "encoder_layers": "encoder_layers",
    "decoder_layers": "decoder_layers",
    "encoder_attention_heads": "num_attention_heads",
    "encoder_ffn_dim": "intermediate_size",
    "activation_function": "activation",
    "max_position_embeddings": "max_position_embeddings",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "init_std": "initializer_range",
}
FIXED = {
    "attention_bias": True,
    "attention_output_bias": True,
    "label_smoothing": 0.0,
    "initializer": "normal",
}
SINUSOIDS = {"positions": "sinusoidal", "sinusoid_layout": "tensor2tensor"}
REFUSED = {"is_decoder": ((False,), "a decoder on its own")}


def decoder_overrides(hf_config: Any) -> dict[str, Any]:
    """The sizes in which the decoder differs from the encoder."""
    sizes = {"num_attention_heads": "attention_heads", "intermediate_size": "ffn_dim"}
    overrides = {
        name: getattr(hf_config, f"decoder_{hf_name}")
        for name, hf_name in sizes.items()
        if getattr(hf_config, f"decoder_{hf_name}") != getattr(hf_config, f"encoder_{hf_name}")
    }
    return {"decoder_overrides": overrides or None}


def read(hf_config: Any, head: str) -> dict[str, Any]:
    return {
        **decoder_overrides(hf_config),
        "embedding_scale": None if hf_config.scale_embedding else 1.0,
        "share_encoder_decoder_embeddings": hf_config.tie_word_embeddings,
    }


def write(config: TriptychConfig, head: str) -> dict[str, Any]:
    return {
        "scale_embedding": config.embedding_scale is None,
        "decoder_attention_heads": config.stack_config("decoder.").num_attention_heads,
        "decoder_ffn_dim": config.stack_config("decoder.").intermediate_size,
    }


def check_padding(hf_config: Any) -> None:
    """fairseq counts positions from the id after the padding, and has no position for a padding token.

    Raises:
        CannotExpress: there is no padding token; or the decoder starts with it, so that its first input would have no
            position.
    """
    if hf_config.pad_token_id is None or hf_config.pad_token_id == hf_config.decoder_start_token_id:
        raise CannotExpress(
            f"{type(hf_config).__name__} has pad_token_id={hf_config.pad_token_id} and decoder_start_token_id="
            f"{hf_config.decoder_start_token_id}: positions are counted from the id of the "
            "padding, which itself has no position"
        )


def sinusoidal_architecture(residual: str, **own: Any) -> Architecture:
    """A relative with sinusoids and a bias of the logits: Marian, and PEGASUS.

    Args:
        residual: the place of the norms.
        own: the other arguments of `Architecture`.
    """
    sinusoids = {"positions": "sinusoidal", "sinusoid_layout": "concatenated"}
    return Architecture(
        config_class=TriptychConfig,
        fields=FIELDS,
        fixed={**FIXED, **sinusoids, "residual": residual, "head_bias": True},
        refused=REFUSED,
        rules=(*EMBEDDINGS, *rules(LAYERS), *rules({"final_logits_bias": "lm_head.bias"}, Row()), *TABLES),
        sinusoids=("embed_positions.weight", "concatenated"),
        **own,
    )
