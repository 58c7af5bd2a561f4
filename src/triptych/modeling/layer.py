"""One layer of Figure 1."""

from typing import Any

from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration import TriptychBaseConfig
from .attention import CrossAttention, SelfAttention
from .feed_forward import FEED_FORWARDS
from .norms import build_norm
from .precision import limits_of
from .residual import RESIDUALS, SHARED_NORM
from .surroundings import Surroundings


class TransformerLayer(GradientCheckpointingLayer):
    """Self-attention, cross-attention if there is a memory, and the feed-forward, each on the residual path.

    Args:
        layer_idx: the number of the layer in its stack, from 0.
        is_causal: whether a position sees only itself and the positions before it.
        has_memory: whether the layer also attends to the output of the encoder.
    """

    def __init__(self, config: TriptychBaseConfig, layer_idx: int, is_causal: bool, has_memory: bool):
        super().__init__()
        self.sublayers = ("self_attention", *(("cross_attention",) if has_memory else ()), "feed_forward")
        self.self_attention = SelfAttention(config, layer_idx, is_causal)
        self.cross_attention = CrossAttention(config, layer_idx) if has_memory else None
        self.feed_forward = FEED_FORWARDS[config.feed_forward](config)
        self.residual = RESIDUALS[config.residual]
        names = [SHARED_NORM] if self.residual.shares_norm else self.sublayers
        self.norms = nn.ModuleDict({name: build_norm(config) for name in names})
        self.dropout = nn.Dropout(config.dropout)
        self.limit_sum, self.limit_output = limits_of(config, is_causal)

    # Arguments that need a gradient are positional, because re-entrant checkpointing does not track keyword arguments.
    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        position_bias: Tensor | None = None,
        surroundings: Surroundings | None = None,
        past_key_values: Cache | None = None,
    ) -> Tensor:
        """x (B, T, d), memory (B, S, d) → (B, T, d)"""
        shared: dict[str, Any] = {"surroundings": surroundings, "past_key_values": past_key_values}
        inputs = {
            "self_attention": {"position_bias": position_bias, **shared},
            "cross_attention": {"memory": memory, **shared},
            "feed_forward": {},
        }

        def run(name: str, h: Tensor) -> Tensor:
            return self.dropout(getattr(self, name)(h, **inputs[name]))

        return self.limit_output(self.residual.add(self, x, run))
