"""Attention: equation (1), and multi-head attention as in section 3.2.2.

Shapes: B batch, T queries, S keys, H heads, G key/value heads, d residual width, d_k and d_v widths of a head.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache, EncoderDecoderCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..configuration import TriptychBaseConfig
from .kernels import within_runs
from .positions import rotate
from .surroundings import Surroundings, alone

Projections = tuple[Tensor, Tensor, Tensor]  # queries (B, H, T, d_k), keys (B, G, S, d_k), values (B, G, S, d_v)


def sees_any(attention_mask: Tensor) -> Tensor:
    """Which queries see at least one key. The mask is added to the scores: (B, 1, T, S) → (B, 1, T, 1) of bools."""
    return (attention_mask > torch.finfo(attention_mask.dtype).min).any(dim=-1, keepdim=True)


def eager_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Equation (1), softmax(Q Kᵀ / √d_k) V, in plain tensor operations.

    The output of a query that sees no key is zero, as with sdpa.

    query (B, H, T, d_k), key (B, G, S, d_k), value (B, G, S, d_v) → (B, T, H, d_v) and the weights (B, H, T, S).
    """
    groups: Any = module.num_key_value_groups
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(-2, -1) * scaling
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None:
        scores = (scores + attention_mask).clamp(min=torch.finfo(scores.dtype).min)  # a row of -inf would give NaN
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    if attention_mask is not None:
        weights = weights * sees_any(attention_mask)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class AttentionWeightsTap(nn.Module):
    """The place where attention weights are recorded (`output_attentions`). Nothing else uses its output."""

    def forward(self, weights: Tensor | None) -> tuple[Tensor | None]:
        return (weights,)


class MultiHeadAttention(nn.Module):
    """MultiHead(Q, K, V) = Concat(head_1, …, head_h) Wᴼ, head_i = Attention(Q Wᵢ^Q, K Wᵢ^K, V Wᵢ^V)."""

    kind = "full_attention"  # the key of its mask in the surroundings
    sliding_window: int | None = (
        None  # the width of the band, for kernels that take no mask; for other kernels, the mask contains the band
    )

    def __init__(self, config: TriptychBaseConfig, layer_idx: int, is_causal: bool = False):
        super().__init__()
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.config, self.layer_idx, self.is_causal = config, layer_idx, is_causal
        self.num_key_value_groups = heads // kv_heads
        self.head_dim, self.value_head_dim = config.head_dim, config.value_head_dim
        self.scaling, self.dropout = config.attention_factor, config.attention_dropout
        self.q_proj = nn.Linear(config.hidden_size, heads * self.head_dim, bias=config.attention_bias)
        self.k_proj = nn.Linear(config.hidden_size, kv_heads * self.head_dim, bias=config.attention_bias)
        self.v_proj = nn.Linear(config.hidden_size, kv_heads * self.value_head_dim, bias=config.attention_bias)
        self.o_proj = nn.Linear(heads * self.value_head_dim, config.hidden_size, bias=config.attention_output_bias)
        self.o_proj.writes_to_residual = True  # type: ignore[assignment]
        self.weights = AttentionWeightsTap()

    def queries(self, x: Tensor) -> Tensor:
        """(B, T, d) → (B, H, T, d_k)"""
        return self.q_proj(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def keys(self, x: Tensor) -> Tensor:
        """(B, S, d) → (B, G, S, d_k)"""
        return self.k_proj(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def values(self, x: Tensor) -> Tensor:
        """(B, S, d) → (B, G, S, d_v)"""
        return self.v_proj(x).unflatten(-1, (-1, self.value_head_dim)).transpose(1, 2)

    def project(
        self, x: Tensor, memory: Tensor | None, surroundings: Surroundings, cache: Cache | None
    ) -> Projections:
        """The queries of x (B, T, d), and the keys and values for them. Self- and cross-attention differ only here."""
        raise NotImplementedError

    def alone(self, x: Tensor) -> Surroundings:
        """The surroundings of an attention over x (B, T, d) that is used without a stack."""
        return Surroundings()

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        position_bias: Tensor | None = None,
        surroundings: Surroundings | None = None,
        past_key_values: Cache | None = None,
    ) -> Tensor:
        """(B, T, d) → (B, T, d)"""
        surroundings = self.alone(x) if surroundings is None else surroundings
        query, key, value = self.project(x, memory, surroundings, past_key_values)
        implementation = self.config._attn_implementation
        # vLLM reads this source: it serves a module whose `forward` takes the kernel from this table under a name, and
        # calls it once, with `scaling=` from an attribute.
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention)
        attend = within_runs(attend, implementation)
        heads, weights = attend(
            self,
            query,
            key,
            value,
            surroundings.masks.get(self.kind),
            scaling=self.scaling,
            dropout=self.dropout if self.training else 0.0,
            position_bias=position_bias,
            sliding_window=self.sliding_window,
            **self.kernel_options(surroundings),
        )
        self.weights(weights)
        return self.o_proj(heads.reshape(*x.shape[:-1], -1))  # kernels of serving engines return (B T, H d_v)

    def kernel_options(self, surroundings: Surroundings) -> Mapping[str, Any]:
        """Further arguments of the kernel."""
        return surroundings.kernel_options


class SelfAttention(MultiHeadAttention):
    """Queries, keys and values come from one sequence; keys and values of earlier positions come from the cache."""

    def __init__(self, config: TriptychBaseConfig, layer_idx: int, is_causal: bool = False):
        super().__init__(config, layer_idx, is_causal)
        self.kind = config.attention_kind(layer_idx)
        if self.kind == "sliding_attention":
            assert config.sliding_window is not None
            # A kernel counts the position itself as part of the width. In a causal layer the configuration does the
            # same. In other layers the width of the configuration is the number of positions on each side.
            self.sliding_window = config.sliding_window + (not is_causal)

    def project(
        self, x: Tensor, memory: Tensor | None, surroundings: Surroundings, cache: Cache | None
    ) -> Projections:
        query, key, value = (
            rotate(self.queries(x), surroundings.rotation),
            rotate(self.keys(x), surroundings.rotation),
            self.values(x),
        )
        if cache is not None:
            kept = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
            key, value = kept.update(key, value, self.layer_idx)
        return query, key, value

    def alone(self, x: Tensor) -> Surroundings:
        return alone(self.config, self.kind, self.is_causal, x)

    def kernel_options(self, surroundings: Surroundings) -> Mapping[str, Any]:
        return {"position_ids": surroundings.position_ids, **surroundings.kernel_options}


class CrossAttention(MultiHeadAttention):
    """Queries come from the decoder, keys and values from the encoder.

    With a cache, keys and values are computed once and kept for all later steps.
    """

    kind = "cross_attention"

    def project(
        self, x: Tensor, memory: Tensor | None, surroundings: Surroundings, cache: Cache | None
    ) -> Projections:
        assert memory is not None
        query = self.queries(x)
        if not isinstance(cache, EncoderDecoderCache):
            return query, self.keys(memory), self.values(memory)
        if not cache.is_updated.get(self.layer_idx):
            cache.cross_attention_cache.update(self.keys(memory), self.values(memory), self.layer_idx)
            cache.is_updated[self.layer_idx] = True
        kept = cache.cross_attention_cache.layers[self.layer_idx]
        return query, kept.keys, kept.values
