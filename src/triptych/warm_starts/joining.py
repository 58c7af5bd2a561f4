"""An encoder–decoder from two trained models, one for each side (Rothe et al. 2020)."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from ..configuration import TriptychBaseConfig, TriptychConfig, TriptychDecoderConfig, TriptychEncoderConfig
from ..configuration.families import HEADS, own_fields
from ..files import naming_damage
from ..modeling import TriptychDecoderForCausalLM, TriptychEncoderModel, TriptychPreTrainedModel
from ..modeling.generation_options import take_generation_config
from ..modeling.precision import take_dtypes
from .special_tokens import first

# These fields concern the map to the vocabulary and the tokens that are written. They come from the decoder, all other
# fields from the encoder.
FROM_DECODER = (
    "bos_token_id",
    "eos_token_id",
    "head_bias",
    "label_smoothing",
    "logit_scale",
    "tie_word_embeddings",
    "use_cache",
)


def join(model_class: type, /, encoder: Any, decoder: Any, **fields: Any) -> Any:
    """An encoder–decoder of two pretrained models (Rothe et al. 2020), in evaluation mode.

        model = TriptychForConditionalGeneration.from_encoder_decoder(from_hf("bert-base-cased"), from_hf("gpt2"))

    `import triptych` makes this function the class method `from_encoder_decoder` of the classes below.

    Both sides keep their configurations (the decoder's is in `decoder_overrides`), vocabularies and weights. The
    weights of cross-attention are new. Outputs start with the decoder's first token, or with its last token where it
    has no first one.

    Args:
        model_class: `TriptychModel`, or one of its heads.
        encoder, decoder: a model of each family, a body or any head, or the directory or repository where one is
            saved. They are not changed.
        fields: fields of the new configuration, such as `decoder_start_token_id`, `pad_token_id`, `dropout`.

    Raises:
        ValueError: the models belong to other families, their widths differ, or the decoder has segments.
    """
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
        raise ValueError(
            f"the two sides do not make this model: it lacks the weights {lost}, and it has no place for {unexpected}"
        )
    take_dtypes(model, taken, narrower=False)
    model.tie_weights()
    if model.can_generate():
        take_generation_config(model, decoder.generation_config if decoder.can_generate() else None)
        take_special_tokens(model, decoder.config)
    return model.to(decoder.device).eval()


def opened(source: Any, config_class: type[TriptychBaseConfig], model_class: type, **options: Any) -> Any:
    """A model of one family: the given one, or the one that is saved in a directory or repository.

    Raises:
        ValueError: it is something else.
    """
    is_name = isinstance(source, (str, Path))
    config = getattr(source, "config", None)
    if is_name:
        with naming_damage(source):
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    if not isinstance(config, config_class):
        raise ValueError(
            f"expected a Triptych model with a {config_class.__name__}, got {source if is_name else type(source)}; "
            "triptych.from_hf makes one from a public checkpoint"
        )
    return model_class.from_pretrained(source, dtype="auto", **options) if is_name else source  # type: ignore


def joint_config(encoder: TriptychBaseConfig, decoder: TriptychBaseConfig, **fields: Any) -> TriptychConfig:
    """The encoder's configuration, with the decoder's values in `decoder_overrides` where the two differ.

    Raises:
        ValueError: the widths differ, so that neither side could read the other; or the decoder has segments.
    """
    if encoder.hidden_size != decoder.hidden_size:
        raise ValueError(
            f"the encoder has hidden_size={encoder.hidden_size}, the decoder {decoder.hidden_size}; both need the "
            "same width, so choose other models"
        )
    if decoder.type_vocab_size:
        raise ValueError(
            f"the decoder has type_vocab_size={decoder.type_vocab_size}, but the decoder of an encoder–decoder has no "
            "segment embeddings"
        )
    differing = {n for n in own_fields() if getattr(encoder, n) != getattr(decoder, n)}
    if differing & {"num_attention_heads", *HEADS}:
        differing |= {"num_attention_heads", *HEADS}  # otherwise those that are not named would be derived anew
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
        raise ValueError(
            "tie_word_embeddings=True would lose the decoder's separate map to the vocabulary; leave it out"
        )
    return config


def side_weights(body: TriptychPreTrainedModel, stack: str, embedding: str) -> dict[str, Tensor]:
    """The weights of a body under the names that they have in the encoder–decoder.

    Args:
        stack: prefix of all weights but the embeddings, "encoder." or "decoder.".
        embedding: prefix of the embedding matrix.
    """
    state = {name: tensor for name, tensor in body.state_dict().items() if not name.startswith("pooler.")}
    old = "embed_tokens."
    return {embedding + n.removeprefix(old) if n.startswith(old) else stack + n: t for n, t in state.items()}


def take_special_tokens(model: Any, decoder: TriptychBaseConfig) -> None:
    """Gives the generation configuration the tokens that the outputs of the new model start, end and are padded with.

    The model's `pad_token_id` pads sources. Outputs are padded with a token of the target, which may not be in both
    vocabularies.
    """
    options, config = model.generation_config, model.config
    for name in ("bos_token_id", "eos_token_id", "decoder_start_token_id"):
        setattr(options, name, getattr(config, name))
    pads = [decoder.pad_token_id, first(config.eos_token_id), config.pad_token_id]
    options.pad_token_id = next((pad for pad in pads if pad is not None), None)
