"""Attention: equation (1), and multi-head attention as in section 3.2.2.

Shapes: B batch, T queries, S keys, H heads, G key/value heads, d residual width, d_k and d_v widths of a head.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache, EncoderDecoderCache

from ..configuration import TriptychBaseConfig
from .kernels import attention_function
from .positions import rotate
from .surroundings import Surroundings, alone

Projections = tuple[Tensor, Tensor, Tensor]  # queries (B, H, T, d_k), keys (B, G, S, d_k), values (B, G, S, d_v)


def sees_any(attention_mask: Tensor) -> Tensor:
    """Which queries see a key, by a mask that is added to the scores: (B, 1, T, S) → (B, 1, T, 1) of bools."""
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

    A query that sees no key gets zeros, as from sdpa.

    query (B, H, T, d_k), key (B, G, S, d_k), value (B, G, S, d_v) → (B, T, H, d_v) and the weights (B, H, T, S).
    """
    groups: Any = module.num_key_value_groups
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(-2, -1) * scaling
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None:
        scores = (scores + attention_mask).clamp(min=torch.finfo(scores.dtype).min)  # -inf everywhere would be NaN
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    if attention_mask is not None:
        weights = weights * sees_any(attention_mask)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class AttentionWeightsTap(nn.Module):
    """Where attention weights can be recorded (`output_attentions`); its output goes nowhere."""

    def forward(self, weights: Tensor | None) -> tuple[Tensor | None]:
        return (weights,)


class MultiHeadAttention(nn.Module):
    """MultiHead(Q, K, V) = Concat(head_1, …, head_h) Wᴼ, head_i = Attention(Q Wᵢ^Q, K Wᵢ^K, V Wᵢ^V)."""

    kind = "full_attention"  # whose mask it takes from its surroundings
    sliding_window: int | None = (
        None  # the width of the band, for kernels that take no mask; other kernels get it as part of the mask
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

    def project(self, x: Tensor, memory: Tensor | None, around: Surroundings, cache: Cache | None) -> Projections:
        """Queries of x (B, T, d), and the keys and values that they meet: what self- and cross-attention differ in."""
        raise NotImplementedError

    def alone(self, x: Tensor) -> Surroundings:
        """What surrounds an attention over x (B, T, d) that is used without a stack."""
        return Surroundings()

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        position_bias: Tensor | None = None,
        around: Surroundings | None = None,
        past_key_values: Cache | None = None,
    ) -> Tensor:
        """(B, T, d) → (B, T, d)"""
        around = self.alone(x) if around is None else around
        query, key, value = self.project(x, memory, around, past_key_values)
        attend = attention_function(self.config._attn_implementation, eager_attention)
        heads, weights = attend(
            self,
            query,
            key,
            value,
            around.masks.get(self.kind),
            scaling=self.scaling,
            dropout=self.dropout if self.training else 0.0,
            position_bias=position_bias,
            sliding_window=self.sliding_window,
            **self.kernel_options(around),
        )
        self.weights(weights)
        return self.o_proj(heads.reshape(*x.shape[:-1], -1))  # serving engines give (B T, H d_v)

    def kernel_options(self, around: Surroundings) -> Mapping[str, Any]:
        """Further arguments of the kernel."""
        return around.kernel_options


class SelfAttention(MultiHeadAttention):
    """Queries, keys and values from one sequence; earlier keys and values from the cache."""

    def __init__(self, config: TriptychBaseConfig, layer_idx: int, is_causal: bool = False):
        super().__init__(config, layer_idx, is_causal)
        self.kind = config.attention_kind(layer_idx)
        if self.kind == "sliding_attention":
            assert config.sliding_window is not None
            # A kernel counts the position itself as a part of the width. In a causal layer the configuration does the
            # same; in the others its width is that of each side.
            self.sliding_window = config.sliding_window + (not is_causal)

    def project(self, x: Tensor, memory: Tensor | None, around: Surroundings, cache: Cache | None) -> Projections:
        query, key, value = (
            rotate(self.queries(x), around.rotation),
            rotate(self.keys(x), around.rotation),
            self.values(x),
        )
        if cache is not None:
            kept = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
            key, value = kept.update(key, value, self.layer_idx)
        return query, key, value

    def alone(self, x: Tensor) -> Surroundings:
        return alone(self.config, self.kind, self.is_causal, x)

    def kernel_options(self, around: Surroundings) -> Mapping[str, Any]:
        return {"position_ids": around.position_ids, **around.kernel_options}


class CrossAttention(MultiHeadAttention):
    """Queries from the decoder, keys and values from the encoder: computed once, kept for every later step."""

    kind = "cross_attention"

    def project(self, x: Tensor, memory: Tensor | None, around: Surroundings, cache: Cache | None) -> Projections:
        assert memory is not None
        query = self.queries(x)
        if not isinstance(cache, EncoderDecoderCache):
            return query, self.keys(memory), self.values(memory)
        if not cache.is_updated.get(self.layer_idx):
            cache.cross_attention_cache.update(self.keys(memory), self.values(memory), self.layer_idx)
            cache.is_updated[self.layer_idx] = True
        kept = cache.cross_attention_cache.layers[self.layer_idx]
        return query, kept.keys, kept.values
