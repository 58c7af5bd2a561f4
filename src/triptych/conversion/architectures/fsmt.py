"""FSMT: fairseq's Transformer of WMT19 (Ng et al. 2019), a vocabulary for each language."""

from typing import Any

from ...configuration import TriptychConfig
from ..architecture import Architecture, CannotExpress
from ..rules import rules
from .bart import EMBEDDINGS, FIELDS, FIXED, LAYERS, decoder_overrides, write
from .m2m_100 import SINUSOIDS, check_padding
from .marian import TABLES


def read(theirs: Any, head: str) -> dict[str, Any]:
    """Tied, all three matrices are one, so there is one vocabulary."""
    check_padding(theirs)
    tied = theirs.tie_word_embeddings
    if tied and theirs.src_vocab_size != theirs.tgt_vocab_size:
        raise CannotExpress(
            f"FSMTConfig has tie_word_embeddings=True with src_vocab_size={theirs.src_vocab_size} and "
            f"tgt_vocab_size={theirs.tgt_vocab_size}: one matrix has one number of rows"
        )
    return {
        **decoder_overrides(theirs),
        "embedding_scale": None if theirs.scale_embedding else 1.0,
        "share_encoder_decoder_embeddings": tied,
        "decoder_vocab_size": None if tied else theirs.tgt_vocab_size,
        "position_offset": theirs.pad_token_id + 1,
    }


def write_vocabularies(ours: TriptychConfig, head: str) -> dict[str, Any]:
    return {**write(ours, head), "tgt_vocab_size": ours.target_vocab_size}


# Their body ends with logits, ours before them, so that they have no counterpart of TriptychModel. Called with labels
# alone, theirs reads the source in the decoder; ours reads what their `prepare_decoder_input_ids_from_labels` returns.
FSMT = Architecture(
    model_type="fsmt",
    config_class=TriptychConfig,
    heads={"FSMTForConditionalGeneration": "TriptychForConditionalGeneration"},
    fields={"src_vocab_size" if theirs == "vocab_size" else theirs: ours for theirs, ours in FIELDS.items()},
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
