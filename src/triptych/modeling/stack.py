"""One side of Figure 1: embeddings, N layers and, unless each layer ends with one, a final norm.

Shapes: B batch, T positions of this stack, S positions of the memory, P positions in the cache, d residual width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from ..configuration import TriptychBaseConfig
from .base import TriptychPreTrainedModel
from .documents import default_position_ids, kernel_positions, packed_documents
from .layer import TransformerLayer
from .lookup import lookup
from .masks import check_attention_mask, memory_mask, self_attention_masks
from .positions import POSITIONS
from .residual import FINAL_NORMS, build_norm


class Segments(nn.Module):
    """Adds BERT's segment embedding; a position without a segment belongs to the first one."""

    def __init__(self, config: TriptychBaseConfig):
        super().__init__()
        self.table = nn.Embedding(config.type_vocab_size, config.hidden_size)

    def forward(self, x: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """x (B, T, d), token_type_ids (B, T) → (B, T, d)"""
        if token_type_ids is None:  # looked up like any other: the weight may be elsewhere until the table is called
            token_type_ids = torch.zeros(1, 1, dtype=torch.long, device=x.device)
        return x + lookup(self.table, token_type_ids, "token_type_ids", "type_vocab_size")


class NoSegments(nn.Module):
    """No segment embedding: adds nothing."""

    def forward(self, x: Tensor, token_type_ids: Tensor | None) -> Tensor:
        return x


def check_past(config: TriptychBaseConfig, depth: int, cache: Any) -> None:
    """Refuse keys and values that were made for another model, as prefix tuning makes them from other numbers.

    Raises:
        ValueError: fewer layers than there are, another number of heads, or another width.
    """
    if type(cache) is not DynamicCache or not cache.layers or torch.compiler.is_compiling():
        return  # only this one takes what it is given; others are sized by the configuration
    keys, values = cache.layers[0].keys, cache.layers[0].values
    if keys is None or values is None or not keys.numel():
        return
    given = (len(cache.layers), keys.shape[1], keys.shape[-1], values.shape[-1])
    needed = (depth, config.num_key_value_heads, config.head_dim, config.value_head_dim)
    heads_fit = needed[1] % given[1] == 0  # a process of tensor parallelism has a part of them
    if given[0] < needed[0] or not heads_fit or given[2:] != needed[2:]:
        form = "{} layers of {} heads with keys of width {} and values of width {}".format
        raise ValueError(
            f"past_key_values have {form(*given)}, but the model has {form(*needed)}; for prefix tuning set "
            "num_layers, num_attention_heads and token_dim (heads times width) in its configuration, or, where values "
            "have another width than keys, choose another method"
        )


class TransformerStack(TriptychPreTrainedModel):
    """N layers over embedded tokens. `is_causal` and `has_memory` say which half of Figure 1 it is.

    The embedding matrix has one owner however often it is shared: the stack where it stands alone, and else the model
    around it. `lookup` is how the stack asks for rows.

    Args:
        embed_tokens: the embedding matrix of a stack that stands alone.
    """

    is_causal = False
    has_memory = False

    def __init__(self, config: TriptychBaseConfig, num_layers: int, embed_tokens: nn.Embedding | None = None):
        super().__init__(config)
        if embed_tokens is not None:  # before all others: peft takes the first matrix with as many rows as tokens
            self.embed_tokens = embed_tokens
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

    @property
    def depth(self) -> int:
        """How many of the layers are run."""
        return len(self.layers)

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
        document_ids: Tensor | None = None,
        encoder_document_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Embed, run the layers, normalise.

        Args:
            input_ids: (B, T) token ids; or `inputs_embeds` (B, T, d), rows of the embedding matrix.
            attention_mask: (B, P + T), 1 for tokens and 0 for padding; or a mask as the attention backend takes it.
            position_ids: (B, T); by default 0, 1, 2, … from the first token that is not masked, so that left padding
                changes nothing. Whether masked tokens after it are counted is `config.masked_positions`. Relative
                positions are distances in the row, and count them always. Where they are given, the first position is
                0, or an encoder's `first_position_id`.
            token_type_ids: (B, T) segments.
            encoder_hidden_states: the memory, (B, S, d), with `encoder_attention_mask` (B, S).
            past_key_values: keys and values of the P positions before these; with `use_cache` they are returned too.
            document_ids: (B, T) packing: tokens see only those of their own document, whose positions count from 0.
                `position_ids` say the same: a document begins at every unmasked position 0 and nowhere else. A masked
                token lies within the document before it. A row of documents has no next step, so no cache is kept.
            encoder_document_ids: (B, S) the documents of the memory; a document sees the one of its own id.

        Raises:
            ValueError: not exactly one of `input_ids` and `inputs_embeds`, a memory where none is attended to or none
                where one is, an attention mask of another length than P + T, or documents with a cache, with flash
                attention, or on one side of the cross-attention only.
            IndexError: a token, position or segment id that has no embedding.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if self.has_memory != (encoder_hidden_states is not None):
            needs = "needs" if self.has_memory else "has no cross-attention, so it takes no"
            raise ValueError(f"{type(self).__name__} {needs} encoder_hidden_states")
        if self.has_memory and kwargs.get("cu_seq_lens_q") is not None:
            raise ValueError(
                "cu_seq_lens_q says where the documents of one sequence begin, and an encoder–decoder has two; "
                "give document_ids and decoder_document_ids"
            )
        x: Any = inputs_embeds if input_ids is None else self.lookup(input_ids)
        length = x.shape[1]

        own = past_key_values
        if isinstance(past_key_values, EncoderDecoderCache):
            own = past_key_values.self_attention_cache
        check_past(self.config, self.depth, own)
        past = 0 if own is None else own.get_seq_length()
        check_attention_mask("attention_mask", attention_mask, x.shape[0], length, past)
        if position_ids is not None:
            position_ids = self.count_from_zero(position_ids, attention_mask)
        documents = packed_documents(
            self.config, document_ids, position_ids, attention_mask, past_key_values, x.shape[:2]
        )
        if use_cache and past_key_values is None and self.is_causal and documents is None:
            past_key_values = self.new_cache()
            own = past_key_values.self_attention_cache if self.has_memory else past_key_values

        kinds = [self.config.attention_kind(i) for i in range(self.depth)]
        masks = self_attention_masks(self.config, set(kinds), self.is_causal, x, attention_mask, own, documents)
        seen_memory = None
        if encoder_hidden_states is not None:
            sources, source_length = encoder_hidden_states.shape[:2]
            if sources != x.shape[0]:
                raise ValueError(f"there are {sources} sources, but {x.shape[0]} targets; a batch needs one for each")
            check_attention_mask("the source's attention_mask", encoder_attention_mask, sources, source_length)
            seen_memory = memory_mask(
                self.config, x, encoder_hidden_states, encoder_attention_mask, documents, encoder_document_ids
            )
        if position_ids is None:
            position_ids = default_position_ids(self.config, attention_mask, length, past, x.device, documents)

        x = x * self.config.embedding_factor + self.positions.embed(position_ids, x.dtype)
        x = self.dropout(self.embedding_norm(self.segments(x, token_type_ids)))
        keys = length if own is None else own.get_mask_sizes(length, 0)[0]
        bias = self.positions.bias(length, keys, past, x.device)
        if bias is not None and self.config._attn_implementation == "flex_attention":
            bias = bias.expand(x.shape[0], -1, -1, -1)  # a view; flex reads a bias at the row of the batch
        rotation = self.positions.rotation(position_ids)
        if documents is not None:
            position_ids = kernel_positions(documents, attention_mask)
        for kind, layer in zip(kinds, self.layers, strict=False):
            x = layer(
                x,
                encoder_hidden_states,
                bias,
                mask=masks[kind],
                memory_mask=seen_memory,
                rotation=rotation,
                position_ids=position_ids,
                past_key_values=past_key_values,
                **kwargs,
            )
        return self.output(self.norm(x), past_key_values if use_cache else None, attention_mask)

    def count_from_zero(self, position_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """The positions that a caller has numbered, (B or 1, T), with 0 for the first."""
        return position_ids

    def output(self, hidden: Tensor, past_key_values: Cache | None, attention_mask: Tensor | None) -> Any:
        """What the stack returns for its last hidden state (B, T, d)."""
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden, past_key_values=past_key_values)

    def new_cache(self) -> Cache:
        """An empty cache for the keys and values of this stack, and of its memory if it has one."""
        cache = DynamicCache(config=self.config)
        return EncoderDecoderCache(cache, DynamicCache(config=self.config)) if self.has_memory else cache
