"""The three configurations. Made with no argument, each is the model that gave its family the name."""

import copy
import dataclasses
import sys
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from .base import DENSE_LAYERS, TriptychBaseConfig, strict_with_aliases
from .fields import field, like, number, size, word

DECODER_STARTS = ("token", "last_label")

# What the decoder cannot have for itself: the width in which the sides meet, what the embeddings, the map to the
# vocabulary and the heads are made from, and what is asked of the model as a whole.
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
# What is derived from the number and the width of heads; a decoder with other heads derives its own.
HEADS = ("num_key_value_heads", "head_dim", "value_head_dim")

MOST_LAYERS = 10_000  # ten times as many as the deepest published Transformer has (Wang et al. 2022)


def own_fields() -> frozenset[str]:
    """The fields in which a decoder can differ from its encoder."""
    names = {f.name for f in dataclasses.fields(TriptychBaseConfig)}  # of ours and of transformers
    return frozenset(names & TriptychBaseConfig.__annotations__.keys()) - COMMON


@strict_with_aliases
class TriptychConfig(TriptychBaseConfig):
    """The encoder–decoder. `TriptychConfig()` is the base model of "Attention Is All You Need" (table 3)."""

    model_type = "triptych"
    attribute_map = {"d_model": "hidden_size", "num_hidden_layers": "encoder_layers"}
    stacks = {"encoder.": ("self_attention",), "decoder.": ("self_attention", "cross_attention")}

    encoder_layers: int = size(6, "Number of layers of the encoder, N.", MOST_LAYERS)
    decoder_layers: int = size(6, "Number of layers of the decoder, N.", MOST_LAYERS)
    decoder_vocab_size: int | None = size(None, "Number of target tokens; None: one vocabulary for both sides.")
    share_encoder_decoder_embeddings: bool = field(True, "Whether source and target use one embedding matrix.")
    decoder_overrides: dict | None = field(None, "Fields in which the decoder differs from the encoder, by name.")

    embedding_scale: float | int | None = like(TriptychBaseConfig, "embedding_scale", None)
    classifier_activation: str = like(TriptychBaseConfig, "classifier_activation", "tanh")
    label_smoothing: float | int = like(TriptychBaseConfig, "label_smoothing", 0.1)
    decoder_start_token_id: int | None = number(2, "Id of the token that the decoder starts from.", at_least=0)
    decoder_start: str = word(
        "token",
        "What the decoder's input begins with when it is made of labels: the start token, or the last label (mBART).",
        DECODER_STARTS,
    )
    is_encoder_decoder: bool = True

    def validate_vocabularies(self) -> None:
        """One embedding matrix has one number of rows."""
        separate = self.decoder_vocab_size not in (None, self.vocab_size)
        if separate and self.share_encoder_decoder_embeddings:
            raise ValueError(
                f"decoder_vocab_size={self.decoder_vocab_size} differs from vocab_size={self.vocab_size}, so source "
                "and target cannot use one embedding matrix; set share_encoder_decoder_embeddings=False"
            )

    def validate_decoder_overrides(self) -> None:
        """The decoder's own fields exist, are not common to both sides, and make a configuration with the others."""
        if not self.decoder_overrides:
            return
        if unknown := sorted(self.decoder_overrides.keys() - own_fields()):
            reason = "is common to both sides" if unknown[0] in COMMON else "is no field of a decoder"
            raise ValueError(
                f"decoder_overrides: {unknown[0]!r} {reason}; what can differ: {', '.join(sorted(own_fields()))}"
            )
        try:
            self._decoder_alone()
        except (ValueError, TypeError, StrictDataclassError) as error:
            raise ValueError(f"decoder_overrides={self.decoder_overrides} make no decoder: {error}") from error

    def _decoder_alone(self) -> "TriptychConfig":
        """A configuration in which both sides are as the decoder is here."""
        own = copy.deepcopy(self.decoder_overrides or {})
        fields = {name: copy.deepcopy(getattr(self, name)) for name in own_fields() | COMMON - {"origin"}}
        if "num_attention_heads" in own:
            fields |= dict.fromkeys(HEADS)
        elif "head_dim" in own:
            fields["value_head_dim"] = None
        if "rotary_dim" in own and fields["rope_parameters"] is not None:
            fields["rope_parameters"].pop("partial_rotary_factor", None)
        fields["vocab_size"] = self.target_vocab_size
        return TriptychConfig(**{**fields, **own}, encoder_layers=self.decoder_layers)

    @property
    def decoder_side(self) -> "TriptychConfig":
        """The configuration of the decoder: this one, or a view of it where the decoder differs."""
        return DecoderSide(self) if self.decoder_overrides else self

    def stack_config(self, stack: str) -> "TriptychConfig":
        return self.decoder_side if stack == "decoder." else self

    @property
    def layer_types(self) -> list[str] | None:
        """transformers sizes caches by it; those of the decoder hold all keys, as cross-attention's have to."""
        return None if self.sliding_window is None else ["full_attention"] * self.encoder_layers

    @property
    def embedding_names(self) -> tuple[str, ...]:
        """Names of the embedding matrices in the body: one, or one per language."""
        return ("embed_tokens",) if self.share_encoder_decoder_embeddings else ("embed_tokens", "decoder_embed_tokens")

    @property
    def target_vocab_size(self) -> int:
        """Number of tokens that the decoder reads and writes."""
        return self.vocab_size if self.decoder_vocab_size is None else self.decoder_vocab_size

    @property
    def has_two_vocabularies(self) -> bool:
        """Whether an id is one token in the source and another in the target, be they as many or not."""
        return self.decoder_vocab_size is not None and not self.share_encoder_decoder_embeddings

    def _special_token_vocabularies(self) -> dict[str, int]:
        target = dict.fromkeys(("bos_token_id", "eos_token_id", "decoder_start_token_id"), self.target_vocab_size)
        return {"pad_token_id": min(self.vocab_size, self.target_vocab_size), **target}

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "TriptychConfig":
        """The configuration as one half sees it: transformers sizes its caches by the decoder's."""
        if not decoder or encoder:
            return TwoVocabularies(self) if self.has_two_vocabularies and asked_by_trainer() else self
        half = copy.deepcopy(self.decoder_side)
        half.encoder_layers, half.vocab_size = self.decoder_layers, self.target_vocab_size
        return half


def asked_by_trainer() -> bool:
    """Whether the caller of our caller is Trainer, about to give a model the special tokens of a tokenizer.

    There is no other place to answer it: it takes the configuration, and writes.
    """
    return not torch.compiler.is_compiling() and sys._getframe(2).f_code.co_name == "align_special_tokens"


class TwoVocabularies(TriptychConfig):
    """A configuration as Trainer finds it, which does not know of two vocabularies: it may not change special tokens.

    `Trainer` gives a model the special tokens of its `processing_class`. An encoder–decoder whose source and target
    have vocabularies of their own has two tokenizers, and its special tokens are the target's. All fields are those
    of the whole, which is changed with this.
    """

    def __init__(self, whole: TriptychConfig):
        object.__setattr__(self, "__dict__", whole.__dict__)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._special_token_vocabularies() and value != getattr(self, name):
            raise ValueError(
                f"{name}={value} would replace {name}={getattr(self, name)}, but source and target have vocabularies "
                f"of their own (decoder_vocab_size={self.decoder_vocab_size}), and special tokens are the target's. "
                "Give Trainer no processing_class, or the target's tokenizer; if that one is right, set "
                f"{name} in model.config and model.generation_config first"
            )
        super().__setattr__(name, value)


class DecoderSide(TriptychConfig):
    """A configuration as a decoder with fields of its own sees it.

    Those fields are here, all others are read from the whole and written to it: what is changed while the model runs
    (the attention backend, whether a cache is kept, what is recorded) holds for both sides.
    """

    def __init__(self, whole: TriptychConfig):
        alone = whole._decoder_alone()
        own = {*(whole.decoder_overrides or ()), *HEADS, "rope_parameters", "encoder_layers", "vocab_size"}
        self.__dict__.update({name: getattr(alone, name) for name in own}, decoder_overrides=None, whole=whole)

    def __getattribute__(self, name: str) -> Any:
        own = super().__getattribute__("__dict__")
        name = TriptychConfig.attribute_map.get(name, name)
        if name not in own and "whole" in own and name in own["whole"].__dict__:  # a copy in the making has no whole
            return getattr(own["whole"], name)
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        name = TriptychConfig.attribute_map.get(name, name)
        if name in self.__dict__:
            super().__setattr__(name, value)
        else:
            setattr(self.whole, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.whole, name)

    def to_dict(self) -> dict[str, Any]:
        own = copy.deepcopy({name: value for name, value in self.__dict__.items() if name != "whole"})
        return {**self.whole.to_dict(), **own}


@strict_with_aliases
class TriptychEncoderConfig(TriptychBaseConfig):
    """The encoder alone. `TriptychEncoderConfig()` is BERT-base (Devlin et al. 2018)."""

    model_type = "triptych_encoder"
    attribute_map = {"d_model": "hidden_size"}

    num_hidden_layers: int = size(12, "Number of layers, N.", MOST_LAYERS)
    pooler: str = word(
        "tanh",
        "Activation of the body's dense layer over the first token, which gives `pooler_output`; none: no layer.",
        DENSE_LAYERS,
    )
    first_position_id: int = number(
        0,
        "What `position_ids`, where they are given, call the first position (RoBERTa: 2).",
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

    num_hidden_layers: int = size(12, "Number of layers, N.", MOST_LAYERS)

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
