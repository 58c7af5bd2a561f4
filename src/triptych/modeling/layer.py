"""One layer of Figure 1."""

from functools import partial
from typing import Any

from torch import Tensor
from transformers import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration import TriptychBaseConfig
from .attention import CrossAttention, SelfAttention
from .feed_forward import FEED_FORWARDS
from .positions import Rotation
from .precision import bounded
from .residual import RESIDUALS, Sublayers


class TransformerLayer(GradientCheckpointingLayer):
    """Self-attention, with a memory also attention to it, then the feed-forward, each on the residual path."""

    def __init__(self, config: TriptychBaseConfig, layer_idx: int, is_causal: bool, has_memory: bool):
        super().__init__()
        self.self_attention = SelfAttention(config, layer_idx, is_causal)
        self.cross_attention = CrossAttention(config, layer_idx) if has_memory else None
        self.feed_forward = FEED_FORWARDS[config.feed_forward](config)
        self.is_bounded = config.is_encoder_decoder and not is_causal and not config.outgrows_float16
        self.always_bounded = config.residual != "post"
        memory = ["cross_attention"] if has_memory else []
        self.residual = RESIDUALS[config.residual](config, ["self_attention", *memory, "feed_forward"])

    # What gradients flow through is positional: re-entrant checkpointing does not track keyword arguments.
    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        position_bias: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        rotation: Rotation | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """x (B, T, d), memory (B, S, d) → (B, T, d)"""
        kwargs["past_key_values"] = past_key_values
        sublayers: Sublayers = {
            "self_attention": partial(
                self.self_attention,
                mask=mask,
                rotation=rotation,
                position_bias=position_bias,
                position_ids=position_ids,
                **kwargs,
            )
        }
        if self.cross_attention is not None:
            sublayers["cross_attention"] = partial(self.cross_attention, memory=memory, mask=memory_mask, **kwargs)
        # Not the module itself: where weights are offloaded, accelerate moves every argument that has a device.
        sublayers["feed_forward"] = partial(self.feed_forward)
        x = self.residual(x, sublayers)
        return bounded(x, self.always_bounded) if self.is_bounded else x
