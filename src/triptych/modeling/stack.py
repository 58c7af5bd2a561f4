"""One side of Figure 1: embeddings, N layers and, unless each layer ends with one, a final norm.

Shapes: B batch, T positions of this stack, S positions of the memory, P positions in the cache, d residual width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, EncoderDecoderCache
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from ..configuration import TriptychBaseConfig
from .base import TriptychPreTrainedModel
from .layer import TransformerLayer
from .lookup import lookup
from .positions import POSITIONS
from .residual import FINAL_NORMS, build_norm


class Segments(nn.Module):
    """BERT's segment embedding; a position without a segment belongs to the first one."""

    def __init__(self, config: TriptychBaseConfig):
        super().__init__()
        self.table = nn.Embedding(config.type_vocab_size, config.hidden_size)

    def forward(self, token_type_ids: Tensor | None) -> Tensor:
        """(B, T) → (B, T, d), or (d,) where no ids are given"""
        if token_type_ids is None:
            return self.table.weight[0]
        return lookup(self.table, token_type_ids, "token_type_ids", "type_vocab_size")


class NoSegments(nn.Module):
    """No segment embedding: adds nothing."""

    def forward(self, token_type_ids: Tensor | None) -> float:
        return 0.0


def default_position_ids(
    attention_mask: Tensor | None, length: int, past: int | Tensor, device: torch.device
) -> Tensor:
    """0, 1, 2, … from the first token that is not padding, so that left padding changes nothing: (B or 1, T)."""
    if attention_mask is None or attention_mask.ndim != 2:
        return torch.arange(length, device=device)[None] + past
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:].to(device)


def keep_positions(hidden: Tensor, logits_to_keep: int | Tensor) -> Tensor:
    """The positions whose logits are asked for: (B, T, d) → (B, kept, d).

    `logits_to_keep` is a number (the last so many; 0: all), positions (kept,) for all rows, positions (B, kept) for
    each, or a mask (B, T) of bools, which gives (number of True, d).
    """
    if isinstance(logits_to_keep, int):
        return hidden[:, -logits_to_keep:]
    if logits_to_keep.dtype == torch.bool:
        return hidden[logits_to_keep]
    if logits_to_keep.ndim == 2:
        return hidden.take_along_dim(logits_to_keep[..., None], dim=1)
    return hidden[:, logits_to_keep]


class TransformerStack(TriptychPreTrainedModel):
    """N layers over embedded tokens. `is_causal` and `has_memory` say which half of Figure 1 it is.

    The embedding matrix belongs to the model around the stack, its only owner however often it is shared; `lookup`
    is how the stack asks for rows.
    """

    is_causal = False
    has_memory = False

    def __init__(self, config: TriptychBaseConfig, num_layers: int):
        super().__init__(config)
        self.positions = POSITIONS[config.positions](config, self.is_causal)
        self.segments = Segments(config) if config.type_vocab_size and not self.has_memory else NoSegments()
        self.embedding_norm = build_norm(config) if config.embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(config, i, self.is_causal, self.has_memory) for i in range(num_layers)
        )
        self.norm = FINAL_NORMS[config.residual](config)
        self.gradient_checkpointing = False

    def lookup(self, input_ids: Tensor) -> Tensor:
        """(B, T) → (B, T, d)"""
        return lookup(self.embed_tokens, input_ids, "input_ids", "vocab_size")

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Embed, run the layers, normalise.

        Args:
            input_ids: (B, T) token ids; or `inputs_embeds` (B, T, d), rows of the embedding matrix.
            attention_mask: (B, P + T), 1 for tokens and 0 for padding; or a mask as the attention backend takes it.
            position_ids: (B, T); by default counted from the first token that is not padding.
            token_type_ids: (B, T) segments.
            encoder_hidden_states: the memory, (B, S, d), with `encoder_attention_mask` (B, S).
            past_key_values: keys and values of the P positions before these; with `use_cache` they are returned too.

        Raises:
            ValueError: not exactly one of `input_ids` and `inputs_embeds`, a memory where none is attended to or none
                where one is, or an attention mask of another length than P + T.
            IndexError: a token, position or segment id that has no embedding.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if self.has_memory != (encoder_hidden_states is not None):
            needs = "needs" if self.has_memory else "has no cross-attention, so it takes no"
            raise ValueError(f"{type(self).__name__} {needs} encoder_hidden_states")
        x: Any = inputs_embeds if input_ids is None else self.lookup(input_ids)
        length = x.shape[1]

        if use_cache and past_key_values is None and self.is_causal:
            past_key_values = self.new_cache()
        own = past_key_values
        if isinstance(past_key_values, EncoderDecoderCache):
            own = past_key_values.self_attention_cache
        past = 0 if own is None else own.get_seq_length()

        if isinstance(past, int) and attention_mask is not None and attention_mask.ndim == 2:
            covered = attention_mask.shape[1]  # a static cache counts in a tensor, which is not waited for
            if covered != past + length:
                raise ValueError(f"attention_mask covers {covered} positions, not the {past + length} seen so far")

        create_mask = create_causal_mask if self.is_causal else create_bidirectional_mask
        mask = create_mask(
            config=self.config,
            inputs_embeds=x,
            attention_mask=attention_mask,
            past_key_values=own,
            position_ids=position_ids,  # only the caller's own: restarting ones mean packed documents
        )
        memory_mask = None
        if self.has_memory:
            memory_mask = create_bidirectional_mask(
                config=self.config,
                inputs_embeds=x,
                attention_mask=encoder_attention_mask,
                encoder_hidden_states=encoder_hidden_states,
            )
        if position_ids is None:
            position_ids = default_position_ids(attention_mask, length, past, x.device)

        x = x * self.config.embedding_factor + self.positions.embed(position_ids, x.dtype)
        x = self.dropout(self.embedding_norm(x + self.segments(token_type_ids)))
        keys = length if own is None else own.get_mask_sizes(length, 0)[0]
        bias = self.positions.bias(length, keys, past)
        if bias is not None and self.config._attn_implementation == "flex_attention":
            bias = bias.expand(x.shape[0], -1, -1, -1)  # a view; flex reads a bias at the row of the batch
        rotation = self.positions.rotation(position_ids)
        for layer in self.layers:
            x = layer(
                x,
                encoder_hidden_states,
                bias,
                mask=mask,
                memory_mask=memory_mask,
                rotation=rotation,
                past_key_values=past_key_values,
                **kwargs,
            )
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=self.norm(x), past_key_values=past_key_values if use_cache else None
        )

    def new_cache(self) -> Cache:
        """An empty cache for the keys and values of this stack, and of its memory if it has one."""
        cache = DynamicCache(config=self.config)
        return EncoderDecoderCache(cache, DynamicCache(config=self.config)) if self.has_memory else cache
