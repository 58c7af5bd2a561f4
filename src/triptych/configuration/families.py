"""The three configurations. Made with no argument, each is the model that gave its family the name."""

import copy

from huggingface_hub.dataclasses import strict

from .base import TriptychBaseConfig
from .fields import field, like, number, size


@strict
class TriptychConfig(TriptychBaseConfig):
    """The encoder–decoder. `TriptychConfig()` is the base model of "Attention Is All You Need" (table 3)."""

    model_type = "triptych"
    attribute_map = {"d_model": "hidden_size", "num_hidden_layers": "encoder_layers"}
    stacks = {"encoder.": ("self_attention",), "decoder.": ("self_attention", "cross_attention")}

    encoder_layers: int = size(6, "Number of layers of the encoder, N.")
    decoder_layers: int = size(6, "Number of layers of the decoder, N.")
    decoder_vocab_size: int | None = size(None, "Number of target tokens; None: one vocabulary for both sides.")
    share_encoder_decoder_embeddings: bool = field(True, "Whether source and target use one embedding matrix.")

    embedding_scale: float | int | None = like(TriptychBaseConfig, "embedding_scale", None)
    label_smoothing: float | int = like(TriptychBaseConfig, "label_smoothing", 0.1)
    decoder_start_token_id: int | None = number(2, "Id of the token that the decoder starts from.", at_least=0)
    is_encoder_decoder: bool = True

    def validate_vocabularies(self) -> None:
        """One embedding matrix has one number of rows."""
        separate = self.decoder_vocab_size not in (None, self.vocab_size)
        if separate and self.share_encoder_decoder_embeddings:
            raise ValueError(
                f"decoder_vocab_size={self.decoder_vocab_size} differs from vocab_size={self.vocab_size}, so source "
                "and target cannot use one embedding matrix; set share_encoder_decoder_embeddings=False"
            )

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

    def _special_token_vocabularies(self) -> dict[str, int]:
        target = dict.fromkeys(("bos_token_id", "eos_token_id", "decoder_start_token_id"), self.target_vocab_size)
        return {"pad_token_id": min(self.vocab_size, self.target_vocab_size), **target}

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "TriptychConfig":
        """The configuration as one half sees it: transformers sizes its caches by the decoder's."""
        if not decoder or encoder:
            return self
        half = copy.deepcopy(self)
        half.encoder_layers, half.vocab_size = self.decoder_layers, self.target_vocab_size
        return half


@strict
class TriptychEncoderConfig(TriptychBaseConfig):
    """The encoder alone. `TriptychEncoderConfig()` is BERT-base (Devlin et al. 2018)."""

    model_type = "triptych_encoder"
    attribute_map = {"d_model": "hidden_size"}

    num_hidden_layers: int = size(12, "Number of layers, N.")

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


@strict
class TriptychDecoderConfig(TriptychBaseConfig):
    """The decoder alone. `TriptychDecoderConfig()` is GPT-2 small (Radford et al. 2019)."""

    model_type = "triptych_decoder"
    attribute_map = {"d_model": "hidden_size"}

    num_hidden_layers: int = size(12, "Number of layers, N.")

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
    pooler: str = like(TriptychBaseConfig, "pooler", "none")
    pad_token_id: int | None = like(TriptychBaseConfig, "pad_token_id", None)
    bos_token_id: int | None = like(TriptychBaseConfig, "bos_token_id", 50256)
    eos_token_id: int | list[int] | None = like(TriptychBaseConfig, "eos_token_id", 50256)
