"""Marian (Junczys-Dowmunt et al. 2018): the paper's model with biases, and the OPUS-MT checkpoints."""

from typing import Any

from ...configuration import TriptychConfig
from ..shared.fairseq import decoder_overrides, sinusoidal_architecture, write


def read(hf_config: Any, head: str) -> dict[str, Any]:
    """Only tied matrices are shared, whatever the configuration of transformers says about sharing."""
    one_vocabulary = hf_config.share_encoder_decoder_embeddings
    return {
        **decoder_overrides(hf_config),
        "embedding_scale": None if hf_config.scale_embedding else 1.0,
        "share_encoder_decoder_embeddings": one_vocabulary and hf_config.tie_word_embeddings,
        "decoder_vocab_size": None if one_vocabulary else hf_config.decoder_vocab_size,
    }


def write_vocabularies(config: TriptychConfig, head: str) -> dict[str, Any]:
    return {
        **write(config, head),
        "share_encoder_decoder_embeddings": config.share_encoder_decoder_embeddings
        or config.decoder_vocab_size is None,
        "decoder_vocab_size": config.target_vocab_size,
    }


MARIAN = sinusoidal_architecture(
    "post",
    model_type="marian",
    heads={"MarianModel": "TriptychModel", "MarianMTModel": "TriptychForConditionalGeneration"},
    read=read,
    write=write_vocabularies,
)
