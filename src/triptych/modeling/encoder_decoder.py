"""The original Transformer: both halves of Figure 1, and its head."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput
from transformers.utils.generic import can_return_tuple

from ..configuration import TriptychConfig
from .base import TriptychPreTrainedModel
from .generation import TriptychGenerationMixin
from .joining import join
from .layout import Layout, lay_out
from .lookup import given, lookup
from .losses import IGNORED, last_labels, shift_right
from .stack import TransformerStack, keep_positions


class Encoder(TransformerStack):
    """The left half of Figure 1."""

    config: TriptychConfig


class Decoder(TransformerStack):
    """The right half of Figure 1."""

    config: TriptychConfig
    is_causal = True
    has_memory = True


class TwoSidedVocabulary(TriptychPreTrainedModel):
    """What every model around `TriptychModel` does about its embeddings: there may be one matrix, or one per side."""

    config: TriptychConfig

    @classmethod
    def from_encoder_decoder(cls, encoder: Any, decoder: Any, **fields: Any) -> Any:
        """An encoder–decoder of two pretrained models (Rothe et al. 2020), in evaluation mode; cross-attention is new.

            model = TriptychForConditionalGeneration.from_encoder_decoder(from_hf("bert-base-cased"), from_hf("gpt2"))

        Both keep their configurations (the decoder's is `decoder_overrides`), vocabularies and weights; outputs start
        with the decoder's first token, or its end where it has none.

        Args:
            encoder, decoder: a model of each family, a body or any head, or where one is saved. They stay as they are.
            fields: of the new configuration, such as `decoder_start_token_id`, `pad_token_id`, `dropout`.

        Raises:
            ValueError: models of other families or of different widths, a decoder with segments.
        """
        return join(cls, encoder, decoder, **fields)

    def _resize_token_embeddings(
        self, new_num_tokens: int | None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """As transformers. A second matrix over the same vocabulary follows; the target's own vocabulary stays."""
        options = new_num_tokens, pad_to_multiple_of, mean_resizing
        if self.config.share_encoder_decoder_embeddings:
            self.config.decoder_vocab_size = None  # which may have repeated the common size
        elif self.config.decoder_vocab_size is not None:
            return self.resize_matrix("embed_tokens", *options)
        else:
            self.resize_matrix("decoder_embed_tokens", *options)
        return super()._resize_token_embeddings(*options)

    def resize_matrix(self, name: str, *options: Any) -> nn.Embedding:
        """One of the body's matrices with another number of rows; what is frozen stays frozen."""
        former = getattr(self.base_model, name)
        resized: nn.Embedding = self._get_resized_embeddings(former, *options)
        setattr(self.base_model, name, resized.requires_grad_(former.weight.requires_grad))
        return resized

    def resize_decoder_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """The target's own vocabulary gets another size: its embeddings, the map to it, the configuration.

        Raises:
            ValueError: source and target have one vocabulary.
        """
        if self.config.decoder_vocab_size is None:
            raise ValueError(
                "source and target have one vocabulary (decoder_vocab_size=None); use resize_token_embeddings"
            )
        resized = self.resize_matrix("decoder_embed_tokens", new_num_tokens, pad_to_multiple_of, mean_resizing)
        head = self.get_output_embeddings()
        if head is not None:
            rows = resized.num_embeddings
            wider = self._get_resized_lm_head(head, rows, mean_resizing=mean_resizing)
            self.set_output_embeddings(wider.requires_grad_(head.weight.requires_grad))
        self.config.decoder_vocab_size = resized.num_embeddings
        self.tie_weights()
        return resized


def source_tokens(input_ids: Tensor | None, inputs_embeds: Tensor | None, encoder_outputs: Any) -> Tensor:
    """The source, as ids (B, S) or as vectors (B, S, d); encoded already, where that is all there is."""
    if encoder_outputs is not None:
        encoded: Tensor = encoder_outputs[0]
        return encoded
    return given(input_ids=input_ids, inputs_embeds=inputs_embeds)


class TriptychModel(TwoSidedVocabulary):
    """The encoder–decoder without a head. It owns the embeddings: one matrix, or one per language."""

    config: TriptychConfig

    def __init__(self, config: TriptychConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if not config.share_encoder_decoder_embeddings:
            self.decoder_embed_tokens = nn.Embedding(config.target_vocab_size, config.hidden_size)
        self.encoder = Encoder(config, config.encoder_layers)
        self.decoder = Decoder(config.decoder_side, config.decoder_layers)
        self.encoder.lookup = self.embed_source  # type: ignore[method-assign]
        self.decoder.lookup = self.embed_target  # type: ignore[assignment, method-assign]
        self.post_init()

    def lay_out(
        self, source: Tensor, said: dict[str, Any], target: Tensor, said_of_target: dict[str, Any], arguments: Any
    ) -> tuple[Layout, Layout]:
        """The layouts of source and target.

        Args:
            source, target: the tokens of each side, ids (B, S) and (B, T), or vectors.
            said, said_of_target: what the caller says of them: masks, positions, documents, the cache.
            arguments: the further arguments of the call; boundaries of documents are taken out of them.
        """
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
            document_ids, decoder_document_ids: (B, S), (B, T) packing: several pairs in one row; a target sees
                itself and the source of the same id. `position_ids` and `decoder_position_ids` that return to 0 say
                the same; and for flat rows (1, S), (1, T) `cu_seq_lens_q`, `max_length_q` of the source and
                `decoder_cu_seq_lens_q`, `decoder_max_length_q` of the target; see `TransformerStack.forward`.
            layouts: of source and target, in place of masks, positions and documents: what a head has made of them.

        Raises:
            ValueError: the decoder has no input, or documents are known on one side only.
        """
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            raise ValueError(
                f"{type(self).__name__} needs decoder_input_ids or decoder_inputs_embeds (or labels, with a head)"
            )
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


def shift_right_as_configured(config: TriptychConfig, labels: Tensor, document_ids: Tensor | None = None) -> Tensor:
    """`shift_right` behind the configured start token.

    Raises:
        ValueError: the configuration has no `decoder_start_token_id` or no `pad_token_id`.
    """
    start, pad = config.decoder_start_token_id, config.pad_token_id
    if start is None or pad is None:
        raise ValueError(
            "labels can only be shifted right with a start and a padding token, got "
            f"decoder_start_token_id={start}, pad_token_id={pad}; set them in the config"
        )
    return shift_right(labels, start, pad, document_ids)


def decoder_input(config: TriptychConfig, labels: Tensor, document_ids: Tensor | None = None) -> Tensor:
    """The decoder's input for given labels, behind what `decoder_start` says: (B, T) → (B, T)

    Raises:
        ValueError: the configuration lacks the tokens for it, or there are documents, which have one start token.
    """
    if config.decoder_start == "token":
        return shift_right_as_configured(config, labels, document_ids)
    if document_ids is not None:
        raise ValueError(
            f"decoder_start={config.decoder_start!r} puts one label before each row, which packed documents do not "
            'have; give decoder_input_ids, or set decoder_start="token" in the config'
        )
    pad = config.pad_token_id
    if pad is None:
        raise ValueError(
            f"decoder_start={config.decoder_start!r} needs a padding token, got pad_token_id=None; set it in the "
            "config"
        )
    shifted = torch.cat([last_labels(labels, pad), labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == IGNORED, pad)


class TriptychForConditionalGeneration(TriptychGenerationMixin, TwoSidedVocabulary):
    """The encoder–decoder with the linear map to the target vocabulary: translation, summarisation, …"""

    config: TriptychConfig
    _tp_plan = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: TriptychConfig):
        super().__init__(config)
        self.model = TriptychModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.target_vocab_size, bias=config.head_bias)
        owner = "embed_tokens" if config.share_encoder_decoder_embeddings else "decoder_embed_tokens"
        self._tied_weights_keys = {"lm_head.weight": f"model.{owner}.weight"}
        self.post_init()

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The labels one step to the right, behind what `decoder_start` says: (B, T) → (B, T).

        Raises:
            ValueError: the configuration has no `pad_token_id`, or lacks the `decoder_start_token_id` that it needs.
        """
        return decoder_input(self.config, labels)

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
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        document_ids: Tensor | None = None,
        decoder_document_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """See `TriptychModel.forward` for the inputs.

        Args:
            labels: (B, T) target token ids, -100 where none is asked for; the decoder's input is made from them
                when it is not given.
            num_items_in_batch: by what the summed loss is divided; by default the number of labels in this batch.
            logits_to_keep: compute only the last so many logits (0: all), or those at the given positions.
        """
        source = {"attention_mask": attention_mask, "position_ids": position_ids, "document_ids": document_ids}
        target = {
            "attention_mask": decoder_attention_mask,
            "position_ids": decoder_position_ids,
            "document_ids": decoder_document_ids,
            "cache": past_key_values,
        }
        layouts = None
        if labels is not None:
            use_cache = bool(use_cache)  # training wants none, whatever the configuration says
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                read = source_tokens(input_ids, inputs_embeds, encoder_outputs)
                layouts = self.model.lay_out(read, source, labels, target, kwargs)
                decoder_input_ids = decoder_input(self.config, labels, layouts[1].documents)
        outputs = self.model(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            position_ids=position_ids,
            decoder_position_ids=decoder_position_ids,
            token_type_ids=token_type_ids,
            use_cache=use_cache,
            document_ids=document_ids,
            decoder_document_ids=decoder_document_ids,
            layouts=layouts,
            return_dict=True,
            **kwargs,
        )
        hidden = keep_positions(outputs.last_hidden_state, logits_to_keep)
        logits = self.lm_head(hidden * self.config.logit_scale)
        loss = None
        if labels is not None:
            loss = self.token_loss(logits, labels, num_items_in_batch)
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions,
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
        )
