"""Marian (Junczys-Dowmunt et al. 2018): the paper's model with biases, and the OPUS-MT checkpoints."""

from typing import Any

from ...configuration import TriptychConfig
from ..architecture import Architecture
from ..arrangements import Row
from ..rules import computed, rules
from .bart import EMBEDDINGS, FIELDS, FIXED, LAYERS, REFUSED, decoder_overrides, write

# A weight where positions are learned, else computed.
TABLES = (
    *rules({"{side}.embed_positions": "{side}.positions.table"}),
    *computed("{side}.embed_positions"),
)


def read(theirs: Any, head: str) -> dict[str, Any]:
    """What is shared is tied to one matrix, so without tying nothing is shared, whatever their configuration says."""
    one_vocabulary = theirs.share_encoder_decoder_embeddings
    return {
        **decoder_overrides(theirs),
        "embedding_scale": None if theirs.scale_embedding else 1.0,
        "share_encoder_decoder_embeddings": one_vocabulary and theirs.tie_word_embeddings,
        "decoder_vocab_size": None if one_vocabulary else theirs.decoder_vocab_size,
    }


def write_vocabularies(ours: TriptychConfig, head: str) -> dict[str, Any]:
    return {
        **write(ours, head),
        "share_encoder_decoder_embeddings": ours.share_encoder_decoder_embeddings or ours.decoder_vocab_size is None,
        "decoder_vocab_size": ours.target_vocab_size,
    }


MARIAN = Architecture(
    model_type="marian",
    config_class=TriptychConfig,
    heads={"MarianModel": "TriptychModel", "MarianMTModel": "TriptychForConditionalGeneration"},
    fields=FIELDS,
    fixed={
        **FIXED,
        "positions": "sinusoidal",
        "sinusoid_layout": "concatenated",
        "residual": "post",
        "head_bias": True,
    },
    refused=REFUSED,
    read=read,
    write=write_vocabularies,
    rules=(
        *EMBEDDINGS,
        *rules(LAYERS),
        *rules({"final_logits_bias": "lm_head.bias"}, Row()),
        *TABLES,
    ),
    sinusoids=("embed_positions.weight", "concatenated"),
)
