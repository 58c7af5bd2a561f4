"""An encoder–decoder from two trained models, one for each side (Rothe et al. 2020)."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from ..configuration import TriptychBaseConfig, TriptychConfig, TriptychDecoderConfig, TriptychEncoderConfig
from ..configuration.families import HEADS, own_fields
from .base import TriptychPreTrainedModel
from .decoder import TriptychDecoderForCausalLM
from .encoder import TriptychEncoderModel
from .precision import take_dtypes

# What the map to the vocabulary and the tokens that are written have from the decoder; the rest is the encoder's.
FROM_DECODER = (
    "bos_token_id",
    "eos_token_id",
    "head_bias",
    "label_smoothing",
    "logit_scale",
    "tie_word_embeddings",
    "use_cache",
)


def join(model_class: type, encoder: Any, decoder: Any, **fields: Any) -> Any:
    """See `TriptychModel.from_encoder_decoder`."""
    encoder = opened(encoder, TriptychEncoderConfig, TriptychEncoderModel, add_pooling_layer=False)
    decoder = opened(decoder, TriptychDecoderConfig, TriptychDecoderForCausalLM)
    model = model_class(joint_config(encoder.config, decoder.config, **fields))
    model.to(torch.promote_types(encoder.dtype, decoder.dtype))

    taken = side_weights(encoder.base_model, "encoder.", "embed_tokens.")
    taken |= side_weights(decoder.base_model, "decoder.", "decoder_embed_tokens.")
    if model is not model.base_model:
        taken = {f"{model.base_model_prefix}.{name}": tensor for name, tensor in taken.items()}
        taken |= {n: t for n, t in decoder.state_dict().items() if n.startswith("lm_head.")}
    missing, unexpected = model.load_state_dict(taken, strict=False)
    lost = [name for name in missing if "cross_attention" not in name and not name.startswith("lm_head.")]
    if lost or unexpected:
        raise ValueError(f"the two sides do not make this model: without weights {lost}, without place {unexpected}")
    take_dtypes(model, taken, narrower=False)
    model.tie_weights()
    if model.can_generate():
        take_generation_config(model, decoder)
    return model.to(decoder.device).eval()


def opened(source: Any, config_class: type[TriptychBaseConfig], model_class: type, **options: Any) -> Any:
    """A model of one family: as given, or read from a directory or repository.

    Raises:
        ValueError: something else.
    """
    is_name = isinstance(source, (str, Path))
    config = AutoConfig.from_pretrained(source) if is_name else getattr(source, "config", None)
    if not isinstance(config, config_class):
        raise ValueError(
            f"expected a Triptych model with a {config_class.__name__}, got {source if is_name else type(source)}; "
            "triptych.from_hf makes one from a public checkpoint"
        )
    return model_class.from_pretrained(source, dtype="auto", **options) if is_name else source  # type: ignore


def joint_config(encoder: TriptychBaseConfig, decoder: TriptychBaseConfig, **fields: Any) -> TriptychConfig:
    """The encoder's configuration, the decoder's in `decoder_overrides` where they differ.

    Raises:
        ValueError: widths differ, so that neither side could read the other; or the decoder has segments.
    """
    if encoder.hidden_size != decoder.hidden_size:
        raise ValueError(
            f"the encoder has hidden_size={encoder.hidden_size}, the decoder {decoder.hidden_size}; both have to "
            "be of one width, so choose other models"
        )
    if decoder.type_vocab_size:
        raise ValueError(
            f"the decoder has type_vocab_size={decoder.type_vocab_size}, and the decoder of an encoder–decoder has no "
            "segment embeddings"
        )
    differing = {n for n in own_fields() if getattr(encoder, n) != getattr(decoder, n)}
    if differing & {"num_attention_heads", *HEADS}:
        differing |= {"num_attention_heads", *HEADS}  # else those not named would be derived anew
    pads = [decoder.pad_token_id, encoder.pad_token_id, first(decoder.eos_token_id)]
    rows = min(encoder.vocab_size, decoder.vocab_size)
    start = (decoder.bos_token_id, first(decoder.eos_token_id), decoder.pad_token_id)
    same_kernel = encoder._attn_implementation == decoder._attn_implementation
    given = {
        **{name: getattr(encoder, name) for name in (*own_fields(), "hidden_size", "type_vocab_size", "vocab_size")},
        **{name: getattr(decoder, name) for name in FROM_DECODER},
        "encoder_layers": encoder.num_hidden_layers,
        "decoder_layers": decoder.num_hidden_layers,
        "decoder_vocab_size": decoder.vocab_size,
        "share_encoder_decoder_embeddings": False,
        "decoder_overrides": {name: getattr(decoder, name) for name in sorted(differing)} or None,
        "pad_token_id": first([pad for pad in pads if pad is not None and pad < rows]),
        "decoder_start_token_id": first([token for token in start if token is not None]),
        "attn_implementation": encoder._attn_implementation if same_kernel else None,
    }
    config = TriptychConfig(**copy.deepcopy({**given, **fields}))
    if config.tie_word_embeddings and not decoder.tie_word_embeddings:
        raise ValueError("tie_word_embeddings=True would lose the decoder's own map to the vocabulary; leave it out")
    return config


def first(ids: int | Sequence[int] | None) -> int | None:
    """The only id, or the first of several, or None."""
    return (ids[0] if ids else None) if isinstance(ids, Sequence) else ids


def side_weights(body: TriptychPreTrainedModel, stack: str, embedding: str) -> dict[str, Tensor]:
    """The weights of a stack, by the names that they have in the encoder–decoder."""
    state = {name: tensor for name, tensor in body.state_dict().items() if not name.startswith("pooler.")}
    own = "embed_tokens."
    return {embedding + n.removeprefix(own) if n.startswith(own) else stack + n: t for n, t in state.items()}


def take_generation_config(model: Any, decoder: Any) -> None:
    """The decoder's options of generation, with the start and the padding of the new model's outputs."""
    if decoder.can_generate():
        model.generation_config = copy.deepcopy(decoder.generation_config)
    options, config = model.generation_config, model.config
    for name in ("bos_token_id", "eos_token_id", "decoder_start_token_id"):
        setattr(options, name, getattr(config, name))
    # The model pads as the sources do, outputs are padded with a token of the target, which may not be in both.
    pads = [decoder.config.pad_token_id, first(config.eos_token_id), config.pad_token_id]
    options.pad_token_id = next((pad for pad in pads if pad is not None), None)
    options._from_model_config = False
