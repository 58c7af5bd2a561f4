"""FSMT: fairseq's Transformer of WMT19 (Ng et al. 2019), with a vocabulary for each language."""

from typing import Any

from ...configuration import TriptychConfig
from ..rules import rules
from ..shared.fairseq import (
    EMBEDDINGS,
    FIELDS,
    FIXED,
    LAYERS,
    SINUSOIDS,
    TABLES,
    check_padding,
    decoder_overrides,
    write,
)
from ..table import Architecture, CannotExpress


def read(hf_config: Any, head: str) -> dict[str, Any]:
    """If the weights are tied, all three matrices are one, so there is only one vocabulary."""
    check_padding(hf_config)
    tied = hf_config.tie_word_embeddings
    if tied and hf_config.src_vocab_size != hf_config.tgt_vocab_size:
        raise CannotExpress(
            f"FSMTConfig has tie_word_embeddings=True with src_vocab_size={hf_config.src_vocab_size} and "
            f"tgt_vocab_size={hf_config.tgt_vocab_size}: one matrix has one number of rows"
        )
    return {
        **decoder_overrides(hf_config),
        "embedding_scale": None if hf_config.scale_embedding else 1.0,
        "share_encoder_decoder_embeddings": tied,
        "decoder_vocab_size": None if tied else hf_config.tgt_vocab_size,
        "position_offset": hf_config.pad_token_id + 1,
    }


def write_vocabularies(config: TriptychConfig, head: str) -> dict[str, Any]:
    return {**write(config, head), "tgt_vocab_size": config.target_vocab_size}


# The body in transformers returns logits, so it is no counterpart of TriptychModel, which returns hidden states.
# Called with labels but without decoder inputs, the class in transformers gives the source to the decoder. Triptych
# gives it what `prepare_decoder_input_ids_from_labels` of that class returns.
FSMT = Architecture(
    model_type="fsmt",
    config_class=TriptychConfig,
    heads={"FSMTForConditionalGeneration": "TriptychForConditionalGeneration"},
    fields={"src_vocab_size" if hf_name == "vocab_size" else hf_name: name for hf_name, name in FIELDS.items()},
    fixed={**FIXED, **SINUSOIDS, "residual": "post", "decoder_start": "last_label"},
    masked_positions="skipped",
    read=read,
    write=write_vocabularies,
    rules=(
        *EMBEDDINGS,
        *rules({**LAYERS, "decoder.output_projection": "lm_head"}),
        *TABLES,
    ),
    sinusoids=("embed_positions.weight", "tensor2tensor"),
)
