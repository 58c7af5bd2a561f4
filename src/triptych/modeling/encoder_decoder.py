"""The original Transformer without a head: both halves of Figure 1."""

from typing import Any

from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqModelOutput
from transformers.utils.generic import can_return_tuple

from ..configuration import TriptychConfig
from .layout import Layout, lay_out
from .lookup import given, lookup
from .stack import TransformerStack
from .two_sided_vocabulary import TwoSidedVocabulary


class Encoder(TransformerStack):
    """The left half of Figure 1."""

    config: TriptychConfig


class Decoder(TransformerStack):
    """The right half of Figure 1."""

    config: TriptychConfig
    is_causal = True
    has_memory = True


def source_tokens(input_ids: Tensor | None, inputs_embeds: Tensor | None, encoder_outputs: Any) -> Tensor:
    """The source: ids (B, S) or vectors (B, S, d). If `encoder_outputs` are given, these are its hidden states."""
    if encoder_outputs is not None:
        encoded: Tensor = encoder_outputs[0]
        return encoded
    return given(input_ids=input_ids, inputs_embeds=inputs_embeds)


class TriptychModel(TwoSidedVocabulary):
    """The encoder–decoder without a head. It owns the embeddings: one matrix, or one per language."""

    config: TriptychConfig
    auto_classes = ("AutoModel",)

    def __init__(self, config: TriptychConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if not config.share_encoder_decoder_embeddings:
            self.decoder_embed_tokens = nn.Embedding(config.target_vocab_size, config.hidden_size)
        self.encoder = Encoder(config, config.encoder_layers)
        self.decoder = Decoder(config.stack_config("decoder."), config.decoder_layers)
        self.encoder.lookup = self.embed_source  # type: ignore[method-assign]
        self.decoder.lookup = self.embed_target  # type: ignore[assignment, method-assign]
        self.post_init()

    def lay_out(
        self, source: Tensor, said: dict[str, Any], target: Tensor, said_of_target: dict[str, Any], arguments: Any
    ) -> tuple[Layout, Layout]:
        """The layouts of source and target.

        Args:
            source, target: the tokens of each side, ids (B, S) and (B, T), or vectors.
            said, said_of_target: what the caller says of these tokens: masks, positions, documents, the cache.
            arguments: the other arguments of the call. The boundaries of documents are removed from them.
        """
        self.share_kernel()
        sides = (
            self.encoder.side(source, arguments=arguments, **said),
            self.decoder.side(target, arguments=arguments, prefix="decoder_", **said_of_target),
        )
        layout, layout_of_target = lay_out(*sides)
        return layout, layout_of_target

    @property
    def target_embeddings(self) -> nn.Embedding:
        """The matrix that embeds the decoder's tokens."""
        return self.embed_tokens if self.config.share_encoder_decoder_embeddings else self.decoder_embed_tokens

    # A decoder that differs from the encoder has another configuration, a copy that is made with the model. The next
    # two methods pass on to it what may change in the model's configuration later.

    def share_kernel(self) -> None:
        """Gives the decoder the attention kernel that the model's configuration names."""
        if self.decoder.config._attn_implementation != self.config._attn_implementation:
            self.decoder.config._attn_implementation = self.config._attn_implementation

    def pass_on_recording(self, kwargs: dict[str, Any]) -> None:
        """Adds to the arguments of a call which outputs are recorded according to the model's configuration."""
        if self.decoder.config is not self.config:
            for name in ("output_attentions", "output_hidden_states"):
                kwargs.setdefault(name, getattr(self.config, name))

    def embed_source(self, input_ids: Tensor) -> Tensor:
        """(B, S) → (B, S, d)"""
        return lookup(self.embed_tokens, input_ids, "input_ids", "vocab_size")

    def embed_target(self, decoder_input_ids: Tensor) -> Tensor:
        """(B, T) → (B, T, d)"""
        size = "vocab_size" if self.config.decoder_vocab_size is None else "decoder_vocab_size"
        return lookup(self.target_embeddings, decoder_input_ids, "decoder_input_ids (or labels)", size)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        decoder_position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        use_cache: bool | None = None,
        document_ids: Tensor | None = None,
        decoder_document_ids: Tensor | None = None,
        layouts: tuple[Layout, Layout] | None = None,
        **kwargs: Any,
    ) -> Seq2SeqModelOutput:
        """Encodes the source, unless `encoder_outputs` are given, and decodes.

        Args:
            input_ids: (B, S) source token ids, with `attention_mask` (B, S); or `inputs_embeds` (B, S, d).
            decoder_input_ids: (B, T) target token ids, with `decoder_attention_mask` (B, P + T); or
                `decoder_inputs_embeds` (B, T, d).
            past_key_values: the cache of the P target positions before these.
            document_ids, decoder_document_ids: (B, S), (B, T) packing: a row holds several pairs, and a target sees
                itself and the source with the same id. There are two other ways to say the same: `position_ids` and
                `decoder_position_ids` that return to 0; or, for flat rows (1, S) and (1, T), `cu_seq_lens_q` and
                `max_length_q` of the source with `decoder_cu_seq_lens_q` and `decoder_max_length_q` of the target. See
                `TransformerStack.forward`.
            layouts: the layouts of source and target, if a head has made them already. They replace masks, positions
                and documents.

        Raises:
            ValueError: the decoder has no input, or the documents of only one side are known.
        """
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            raise ValueError(
                f"{type(self).__name__} needs decoder_input_ids or decoder_inputs_embeds (or labels, with a head)"
            )
        use_cache = self.config.use_cache if use_cache is None else use_cache
        self.pass_on_recording(kwargs)
        encoder_outputs = (
            BaseModelOutput(*encoder_outputs) if isinstance(encoder_outputs, (tuple, list)) else encoder_outputs
        )
        if layouts is None:
            source = {"attention_mask": attention_mask, "position_ids": position_ids, "document_ids": document_ids}
            target = {
                "attention_mask": decoder_attention_mask,
                "position_ids": decoder_position_ids,
                "document_ids": decoder_document_ids,
                "cache": past_key_values,
            }
            read = source_tokens(input_ids, inputs_embeds, encoder_outputs)
            written = given(decoder_input_ids=decoder_input_ids, decoder_inputs_embeds=decoder_inputs_embeds)
            layouts = self.lay_out(read, source, written, target, kwargs)
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids,
                token_type_ids=token_type_ids,
                inputs_embeds=inputs_embeds,
                layout=layouts[0],
                return_dict=True,
                **kwargs,
            )
        decoder_outputs = self.decoder(
            decoder_input_ids,
            inputs_embeds=decoder_inputs_embeds,
            encoder_hidden_states=encoder_outputs.last_hidden_state,
            past_key_values=past_key_values,
            use_cache=use_cache,
            layout=layouts[1],
            encoder_layout=layouts[0],
            return_dict=True,
            **kwargs,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=decoder_outputs.last_hidden_state,
            past_key_values=decoder_outputs.past_key_values,
            decoder_hidden_states=decoder_outputs.hidden_states,
            decoder_attentions=decoder_outputs.attentions,
            cross_attentions=decoder_outputs.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
        )
