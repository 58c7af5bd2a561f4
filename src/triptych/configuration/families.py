"""The three configurations. Without arguments, they are the base Transformer, BERT-base and GPT-2 small."""

import copy
import dataclasses
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from ..files import MOST_LAYERS
from .choices import DECODER_START_CHOICES, DENSE_LAYER_CHOICES
from .common import TriptychBaseConfig, strict_with_aliases
from .common_fields import CommonFields
from .fields import field, like, number, size, word

# The fields that are common to both sides: the width in which they meet, the fields that describe the embeddings, the
# map to the vocabulary and the heads, and those that concern the model as a whole.
COMMON = frozenset(
    {
        "bos_token_id",
        "classifier_activation",
        "classifier_dropout",
        "eos_token_id",
        "head_bias",
        "hidden_size",
        "label_smoothing",
        "logit_scale",
        "origin",
        "pad_token_id",
        "tie_word_embeddings",
        "type_vocab_size",
        "use_cache",
        "vocab_size",
    }
)
# These fields are derived from the number and the width of heads. A decoder with other heads derives them anew.
HEADS = ("num_key_value_heads", "head_dim", "value_head_dim")


def own_fields() -> frozenset[str]:
    """The fields in which a decoder can differ from its encoder."""
    names = {f.name for f in dataclasses.fields(CommonFields)}  # the fields of Triptych and of transformers
    return frozenset(names & CommonFields.__annotations__.keys()) - COMMON


@strict_with_aliases
class TriptychConfig(TriptychBaseConfig):
    """The encoder–decoder. `TriptychConfig()` is the base model of "Attention Is All You Need" (table 3)."""

    model_type = "triptych"
    attribute_map = {"d_model": "hidden_size", "num_hidden_layers": "encoder_layers"}
    stacks = {"encoder.": ("self_attention",), "decoder.": ("self_attention", "cross_attention")}

    encoder_layers: int = size(6, "Number of layers of the encoder.", MOST_LAYERS)
    decoder_layers: int = size(6, "Number of layers of the decoder.", MOST_LAYERS)
    decoder_vocab_size: int | None = size(None, "Number of target tokens; None: one vocabulary for both sides.")
    share_encoder_decoder_embeddings: bool = field(
        True, "Whether source and target use the same embeddings, which needs one vocabulary for both."
    )
    decoder_overrides: dict | None = field(
        None, 'Fields of this list with other values for the decoder, such as {"num_attention_heads": 4}.'
    )

    embedding_scale: float | int | None = like(TriptychBaseConfig, "embedding_scale", None)
    classifier_activation: str = like(TriptychBaseConfig, "classifier_activation", "tanh")
    label_smoothing: float | int = like(TriptychBaseConfig, "label_smoothing", 0.1)
    decoder_start_token_id: int | None = number(2, "Id of the token that the decoder starts from.", at_least=0)
    decoder_start: str = word(
        "token",
        "What the decoder reads first in training: the start token, or the last token of the target (mBART).",
        DECODER_START_CHOICES,
    )
    is_encoder_decoder: bool = True

    def validate_vocabularies(self) -> None:
        """Raises ValueError where two vocabularies of different sizes would share one embedding matrix."""
        separate = self.decoder_vocab_size not in (None, self.vocab_size)
        if separate and self.share_encoder_decoder_embeddings:
            raise ValueError(
                f"decoder_vocab_size={self.decoder_vocab_size} differs from vocab_size={self.vocab_size}, so source "
                "and target cannot use one embedding matrix; set share_encoder_decoder_embeddings=False"
            )

    def validate_decoder_overrides(self) -> None:
        """Checks that the fields in `decoder_overrides` exist, may differ between the sides, and make a valid decoder.

        Raises:
            ValueError: the message names the wrong field, or the reason why the decoder is not valid.
        """
        if not self.decoder_overrides:
            return
        if unknown := sorted(self.decoder_overrides.keys() - own_fields()):
            reason = "is common to both sides" if unknown[0] in COMMON else "is no field of a decoder"
            raise ValueError(
                f"decoder_overrides: {unknown[0]!r} {reason}; these can differ: {', '.join(sorted(own_fields()))}"
            )
        try:
            self.decoder_config().validate()
        except (ValueError, TypeError, StrictDataclassError) as error:
            raise ValueError(f"decoder_overrides={self.decoder_overrides} make no valid decoder: {error}") from error

    def decoder_config(self) -> "TriptychConfig":
        """The decoder's configuration: a copy with the fields, the number of layers and the vocabulary of the decoder.

        Later changes of this configuration do not reach the copy. The parts of transformers' composite models behave
        in the same way.
        """
        side, own = copy.deepcopy(self), copy.deepcopy(self.decoder_overrides or {})
        if "num_attention_heads" in own:
            own = {**dict.fromkeys(HEADS), **own}
        elif "head_dim" in own:
            own = {"value_head_dim": None, **own}
        if "rotary_dim" in own and side.rope_parameters is not None:
            side.rope_parameters.pop("partial_rotary_factor", None)
        side.decoder_overrides = None
        side.encoder_layers, side.vocab_size = self.decoder_layers, self.target_vocab_size
        for name, value in own.items():
            setattr(side, name, value)
        side.derive_heads()
        side.derive_rotation()
        return side

    def stack_config(self, stack: str) -> "TriptychConfig":
        """Extends `TriptychBaseConfig.stack_config`: the decoder gets a copy where some of its fields differ."""
        return self.decoder_config() if stack == "decoder." and self.decoder_overrides else self

    @property
    def layer_types(self) -> list[str] | None:
        """The kinds of layers by which transformers sizes caches: full attention for each, or None without any band.

        transformers uses the same kinds for the cache of cross-attention, which has to hold all keys.
        """
        return None if self.sliding_window is None else ["full_attention"] * self.encoder_layers

    @property
    def embedding_names(self) -> tuple[str, ...]:
        """The names of the embedding matrices in the body: one matrix, or one per language."""
        return ("embed_tokens",) if self.share_encoder_decoder_embeddings else ("embed_tokens", "decoder_embed_tokens")

    @property
    def target_vocab_size(self) -> int:
        """The number of tokens that the decoder reads and writes."""
        return self.vocab_size if self.decoder_vocab_size is None else self.decoder_vocab_size

    @property
    def has_two_vocabularies(self) -> bool:
        """Whether one id means different tokens in source and target. The vocabularies may have the same size."""
        return self.decoder_vocab_size is not None and not self.share_encoder_decoder_embeddings

    def special_token_vocabularies(self) -> dict[str, int]:
        """Extends the base class: both sides read padding, all other special tokens belong to the target."""
        target = dict.fromkeys(("bos_token_id", "eos_token_id", "decoder_start_token_id"), self.target_vocab_size)
        return {"pad_token_id": min(self.vocab_size, self.target_vocab_size), **target}

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "TriptychConfig":
        """Extends transformers' method: the configuration for a tool that handles text.

        Args:
            decoder: True asks for the decoder's configuration, by which transformers sizes its caches.
            encoder: True asks for the whole configuration. With neither or both, the result is the whole configuration
                as well. In this case special tokens cannot be changed through it if source and target have two
                vocabularies; see `WithoutSide`.
        """
        if bool(decoder) == bool(encoder):
            return WithoutSide.of(self) if self.has_two_vocabularies else self
        return self.decoder_config() if decoder else self


@strict_with_aliases
class WithoutSide(TriptychConfig):
    """A configuration for a tool that does not say which side it means, where the sides have two vocabularies.

    It shares all fields with the whole configuration, so a change here changes the whole. Only special tokens cannot
    be changed here, because they belong to the target. `Trainer` would change them: it gives a model the special
    tokens of its `processing_class`, which can also be the tokenizer of the source.
    """

    @classmethod
    def of(cls, whole: TriptychConfig) -> "WithoutSide":
        """A view of `whole`: both objects share one dictionary of fields."""
        seen = object.__new__(cls)
        object.__setattr__(seen, "__dict__", whole.__dict__)
        return seen

    def __setattr__(self, name: str, value: Any) -> None:
        is_made = self.__dict__.get("_post_init_done", False)
        if is_made and name in self.special_token_vocabularies() and value != getattr(self, name):
            raise ValueError(
                f"{name}={value} would replace {name}={getattr(self, name)}, but source and target have two "
                f"vocabularies (decoder_vocab_size={self.decoder_vocab_size}), and special tokens belong to the "
                "target. Give Trainer no processing_class, or the target's tokenizer. If the new id is right, set "
                f"{name} in model.config and model.generation_config first"
            )
        super().__setattr__(name, value)


@strict_with_aliases
class TriptychEncoderConfig(TriptychBaseConfig):
    """The encoder alone. `TriptychEncoderConfig()` is BERT-base (Devlin et al. 2018)."""

    model_type = "triptych_encoder"
    attribute_map = {"d_model": "hidden_size"}

    num_hidden_layers: int = size(12, "Number of layers of the model.", MOST_LAYERS)
    pooler: str = word(
        "tanh",
        "Activation function of the layer over the first token that stands for the whole text (pooler); none: no "
        "such layer.",
        DENSE_LAYER_CHOICES,
    )
    first_position_id: int = number(
        0,
        "Number that the first token has in `position_ids`, where a program gives these (RoBERTa: 2).",
        at_least=0,
    )

    vocab_size: int = like(TriptychBaseConfig, "vocab_size", 30522)
    hidden_size: int = like(TriptychBaseConfig, "hidden_size", 768)
    num_attention_heads: int = like(TriptychBaseConfig, "num_attention_heads", 12)
    intermediate_size: int = like(TriptychBaseConfig, "intermediate_size", 3072)
    max_position_embeddings: int = like(TriptychBaseConfig, "max_position_embeddings", 512)
    type_vocab_size: int = like(TriptychBaseConfig, "type_vocab_size", 2)
    positions: str = like(TriptychBaseConfig, "positions", "learned")
    activation: str = like(TriptychBaseConfig, "activation", "gelu")
    norm_eps: float = like(TriptychBaseConfig, "norm_eps", 1e-12)
    attention_bias: bool = like(TriptychBaseConfig, "attention_bias", True)
    attention_output_bias: bool = like(TriptychBaseConfig, "attention_output_bias", True)
    embedding_norm: bool = like(TriptychBaseConfig, "embedding_norm", True)
    head_bias: bool = like(TriptychBaseConfig, "head_bias", True)
    attention_dropout: float | int = like(TriptychBaseConfig, "attention_dropout", 0.1)
    initializer: str = like(TriptychBaseConfig, "initializer", "normal")
    use_cache: bool = like(TriptychBaseConfig, "use_cache", False)
    bos_token_id: int | None = like(TriptychBaseConfig, "bos_token_id", None)
    eos_token_id: int | list[int] | None = like(TriptychBaseConfig, "eos_token_id", None)


@strict_with_aliases
class TriptychDecoderConfig(TriptychBaseConfig):
    """The decoder alone. `TriptychDecoderConfig()` is GPT-2 small (Radford et al. 2019)."""

    model_type = "triptych_decoder"
    attribute_map = {"d_model": "hidden_size"}

    num_hidden_layers: int = size(12, "Number of layers of the model.", MOST_LAYERS)

    vocab_size: int = like(TriptychBaseConfig, "vocab_size", 50257)
    hidden_size: int = like(TriptychBaseConfig, "hidden_size", 768)
    num_attention_heads: int = like(TriptychBaseConfig, "num_attention_heads", 12)
    intermediate_size: int = like(TriptychBaseConfig, "intermediate_size", 3072)
    max_position_embeddings: int = like(TriptychBaseConfig, "max_position_embeddings", 1024)
    positions: str = like(TriptychBaseConfig, "positions", "learned")
    residual: str = like(TriptychBaseConfig, "residual", "pre")
    activation: str = like(TriptychBaseConfig, "activation", "gelu_new")
    attention_bias: bool = like(TriptychBaseConfig, "attention_bias", True)
    attention_output_bias: bool = like(TriptychBaseConfig, "attention_output_bias", True)
    attention_dropout: float | int = like(TriptychBaseConfig, "attention_dropout", 0.1)
    initializer: str = like(TriptychBaseConfig, "initializer", "depth_scaled")
    pad_token_id: int | None = like(TriptychBaseConfig, "pad_token_id", None)
    bos_token_id: int | None = like(TriptychBaseConfig, "bos_token_id", 50256)
    eos_token_id: int | list[int] | None = like(TriptychBaseConfig, "eos_token_id", 50256)
