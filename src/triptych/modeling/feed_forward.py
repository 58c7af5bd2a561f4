"""The position-wise feed-forward network: section 3.3."""

from torch import Tensor, nn
from transformers.activations import ACT2FN

from ..configuration import TriptychBaseConfig
from ..configuration.choices import FEED_FORWARD_CHOICES
from .precision import as_weight


class FeedForward(nn.Module):
    """FFN(x) = act(x W₁ + b₁) W₂ + b₂: equation (2). (B, T, d) → (B, T, d)"""

    def __init__(self, config: TriptychBaseConfig):
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.feed_forward_bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.feed_forward_bias)
        self.down_proj.writes_to_residual = True  # type: ignore[assignment]
        self.activation, self.dropout = ACT2FN[config.activation], nn.Dropout(config.activation_dropout)

    def expand(self, x: Tensor) -> Tensor:
        """(B, T, d) → (B, T, d_ff)"""
        return self.activation(self.up_proj(x))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.expand(x))
        return self.down_proj(as_weight(hidden, self.down_proj))  # this matrix can be float32 in a float16 model


class GatedFeedForward(FeedForward):
    """FFN(x) = (act(x W) ⊗ x V) W₂: Shazeer 2020, equation (6)."""

    def __init__(self, config: TriptychBaseConfig):
        super().__init__(config)
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.feed_forward_bias)

    def expand(self, x: Tensor) -> Tensor:
        return self.activation(self.gate_proj(x)) * self.up_proj(x)


# The dictionary by which the configuration checks the word: a new entry is also a new word of the field.
FEED_FORWARDS = FEED_FORWARD_CHOICES
FEED_FORWARDS |= {"plain": FeedForward, "gated": GatedFeedForward}
