"""One side of Figure 1: embeddings, N layers, and a final norm unless each layer ends with one.

Shapes: B batch, T positions of this stack, S positions of the memory, P positions in the cache, d residual width.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import Cache, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from ..configuration import TriptychBaseConfig
from .base import TriptychPreTrainedModel
from .caches import check_past, own_cache
from .kernels import kernel_of
from .layer import TransformerLayer
from .layout import Layout, Side, lay_out, take_boundaries
from .lookup import given, lookup
from .masks import memory_mask, self_attention_masks
from .norms import build_norm
from .positions import POSITIONS
from .residual import RESIDUALS
from .segments import NoSegments, Segments
from .surroundings import Surroundings

MASK_OF_SOURCE = "the source's attention_mask"  # in errors


class TransformerStack(TriptychPreTrainedModel):
    """N layers over embedded tokens. `is_causal` and `has_memory` say which half of Figure 1 it is.

    A stack that is used alone owns the embedding matrix. In an encoder–decoder, the model around the stack owns it and
    replaces `lookup`, with which the stack gets the embeddings of tokens.

    Args:
        embed_tokens: the embedding matrix of a stack that is used alone.

    Raises:
        ValueError: the positions add a bias to the attention scores, and some layers attend within a band.
    """

    is_causal = False
    has_memory = False
    first_position = 0  # the number of the first position in `position_ids`

    def __init__(self, config: TriptychBaseConfig, num_layers: int, embed_tokens: nn.Embedding | None = None):
        super().__init__(config)
        if embed_tokens is not None:  # comes first: PEFT takes the first matrix with as many rows as there are tokens
            self.embed_tokens = embed_tokens
        self.positions = POSITIONS[config.positions](config, self.is_causal)
        if self.positions.adds_bias and config.sliding_window is not None:
            raise ValueError(
                f"positions={config.positions!r} has one bias for all layers, but attention_pattern="
                f"{config.attention_pattern} gives some of them a band; set attention_pattern=None"
            )
        self.segments = Segments(config) if config.type_vocab_size and not self.has_memory else NoSegments()
        self.embedding_norm = build_norm(config) if config.embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(config, i, self.is_causal, self.has_memory) for i in range(num_layers)
        )
        self.norm = nn.Identity() if RESIDUALS[config.residual].ends_with_norm else build_norm(config)
        self.gradient_checkpointing = False

    def lookup(self, input_ids: Tensor) -> Tensor:
        """(B, T) → (B, T, d)"""
        return lookup(self.embed_tokens, input_ids, "input_ids", "vocab_size")

    @property
    def depth(self) -> int:
        """The number of layers that are run."""
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
        layout: Layout | None = None,
        encoder_layout: Layout | None = None,
        **kwargs: Any,
    ) -> Any:
        """Embeds the tokens, runs the layers and normalises.

        Args:
            input_ids: (B, T) token ids; or `inputs_embeds` (B, T, d), rows of the embedding matrix.
            attention_mask: (B, P + T), 1 for tokens and 0 for padding; or a mask in the form that the attention kernel
                takes.
            position_ids: (B, T), where the first position is 0, or `first_position_id` in an encoder. By default they
                are 0, 1, 2, … from the first token that is not masked, so left padding changes nothing.
                `config.masked_positions` says whether masked tokens behind it are counted. Relative positions and
                ALiBi are distances in the row and always count masked tokens.
            token_type_ids: (B, T) segments.
            encoder_hidden_states: the memory, (B, S, d), with `encoder_attention_mask` (B, S).
            past_key_values: keys and values of the P earlier positions. With `use_cache` they are also returned.
            document_ids: (B, T) packing: tokens see only tokens of the same document, and the positions of each
                document count from 0. There are two other ways to say the same. `position_ids` that return to 0: a
                document begins at every unmasked position 0 and nowhere else. For one flat row (1, T), the arguments
                of transformers' collators: `cu_seq_lens_q` (documents + 1,) holds the index of the first token of each
                document, followed by T, and `max_length_q` is the length of the longest document. `cu_seq_lens_k` and
                `max_length_k` have the same values. A masked token belongs to the document before it. No cache is kept
                for a row of documents, because it has no next step.
            encoder_document_ids: (B, S) the documents of the memory. A document sees the one with the same id.
            layout, encoder_layout: the layouts of the tokens and of the memory, if the model around the stack has made
                them already. They replace masks, positions and documents.

        Raises:
            ValueError: not exactly one of `input_ids` and `inputs_embeds` is given; a memory is given to a stack
                without cross-attention, or none to a stack that has it; the attention mask has another length than
                P + T; there are documents together with a cache, or on only one side of the cross-attention.
            IndexError: a token, position or segment id has no embedding.
        """
        self.check_memory(encoder_hidden_states)
        x = self.vectors(input_ids, inputs_embeds)
        if layout is None:
            layout = self.layout_of(
                x,
                cache=past_key_values,
                arguments=kwargs,
                attention_mask=attention_mask,
                position_ids=position_ids,
                document_ids=document_ids,
            )
        if encoder_hidden_states is not None and encoder_layout is None:
            encoder_layout = self.layout_of(
                encoder_hidden_states,
                mask_name=MASK_OF_SOURCE,
                attention_mask=encoder_attention_mask,
                document_ids=encoder_document_ids,
            )
        if use_cache and past_key_values is None and self.is_causal and layout.documents is None:
            past_key_values = self.new_cache()

        x = self.embed(x, layout, token_type_ids)
        surroundings = self.surround(x, layout, past_key_values, kwargs)
        if encoder_hidden_states is not None and encoder_layout is not None:
            surroundings = self.surround_memory(surroundings, x, layout, encoder_hidden_states, encoder_layout)
        bias = self.position_bias(x, own_cache(past_key_values))
        for layer in self.layers[: self.depth]:
            x = layer(x, encoder_hidden_states, bias, surroundings, past_key_values=past_key_values)
        return self.output(self.norm(x), past_key_values if use_cache else None, layout.attention_mask)

    def check_memory(self, memory: Tensor | None) -> None:
        """Raises ValueError if there is a memory but no cross-attention, or cross-attention but no memory."""
        if self.has_memory != (memory is not None):
            needs = "needs" if self.has_memory else "has no cross-attention, so it takes no"
            raise ValueError(f"{type(self).__name__} {needs} encoder_hidden_states")

    def vectors(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        """The embeddings of tokens: (B, T) or (B, T, d) → (B, T, d)."""
        tokens = given(input_ids=input_ids, inputs_embeds=inputs_embeds)
        return self.lookup(tokens) if inputs_embeds is None else tokens

    def side(
        self, tokens: Tensor, cache: Cache | None = None, arguments: Any = None, prefix: str = "", **said: Any
    ) -> Side:
        """What a caller says about tokens, which are ids (B, T) or vectors (B, T, d).

        Args:
            arguments: the other arguments of the call. The boundaries of documents are removed from them.
            prefix: the prefix of the names of these boundaries.
            said: the fields of `Side` that the caller gives.
        """
        arguments = {} if arguments is None else arguments
        is_served = arguments.get("cache") is not None  # transformers' continuous batching
        return Side(
            config=self.config,
            shape=(tokens.shape[0], tokens.shape[1]),
            device=tokens.device,
            boundaries=take_boundaries(arguments, prefix),
            cache=self.checked_cache(cache),
            first_position=self.first_position,
            is_served=is_served,
            **said,
        )

    def layout_of(self, tokens: Tensor, **said: Any) -> Layout:
        """The layout of tokens that no other side belongs to. The arguments are those of `side`."""
        (layout,) = lay_out(self.side(tokens, **said))
        return layout

    def checked_cache(self, cache: Cache | None) -> Any:
        """The part of a cache that this stack writes to. Raises ValueError if the cache belongs to another model."""
        kept = own_cache(cache)
        check_past(self.config, self.depth, kept)
        return kept

    def embed(self, x: Tensor, layout: Layout, token_type_ids: Tensor | None = None) -> Tensor:
        """The input of the first layer: embeddings of tokens (section 3.4), positions and segments. (B, T, d)"""
        x = x * self.config.embedding_factor + self.positions.embed(layout.position_ids, x.dtype)
        return self.dropout(self.embedding_norm(self.segments(x, token_type_ids)))

    def surround(self, x: Tensor, layout: Layout, cache: Cache | None, options: Mapping[str, Any]) -> Surroundings:
        """The surroundings of the layers over x (B, T, d): masks, the rotation by positions, options of the kernel."""
        kinds = {self.config.attention_kind(i) for i in range(self.depth)}
        masks = self_attention_masks(self.config, kinds, self.is_causal, x, layout, own_cache(cache))
        rotation = self.positions.rotation(layout.position_ids)
        return Surroundings(masks, rotation, layout.position_ids, options)

    def surround_memory(
        self, surroundings: Surroundings, x: Tensor, layout: Layout, memory: Tensor, encoder_layout: Layout
    ) -> Surroundings:
        """The same surroundings, with the mask of cross-attention from x (B, T, d) to the memory (B, S, d)."""
        if memory.shape[0] != x.shape[0]:
            raise ValueError(
                f"there are {memory.shape[0]} sources, but {x.shape[0]} targets; give one source for each target"
            )
        mask = memory_mask(self.config, x, memory, layout, encoder_layout)
        return replace(surroundings, masks={**surroundings.masks, "cross_attention": mask})

    def position_bias(self, x: Tensor, cache: Cache | None) -> Tensor | None:
        """What the positions add to the attention scores of all layers: (1 or B, H, T, P + T)."""
        length = x.shape[1]
        keys = length if cache is None else cache.get_mask_sizes(length, 0)[0]
        bias = self.positions.bias(length, keys, 0 if cache is None else cache.get_seq_length(), x.device)
        needs_rows = bias is not None and not kernel_of(self.config._attn_implementation).shared_bias
        return bias.expand(x.shape[0], -1, -1, -1) if bias is not None and needs_rows else bias

    def output(self, hidden: Tensor, past_key_values: Cache | None, attention_mask: Any) -> Any:
        """The output of the stack for its last hidden state (B, T, d)."""
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden, past_key_values=past_key_values)

    def new_cache(self) -> Cache:
        """An empty cache for the keys and values of this stack, and for those of its memory if it has one."""
        cache = DynamicCache(config=self.config)
        return EncoderDecoderCache(cache, DynamicCache(config=self.config)) if self.has_memory else cache
