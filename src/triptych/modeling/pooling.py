"""One vector for a whole sequence: the position that represents it, and the dense layers and maps over its vector.

Shapes: B batch, T positions, L labels, d residual width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from ..configuration import TriptychBaseConfig
from .documents import own_tokens


def row_tokens(x: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Which positions of ids or vectors are not padding: (B, T) or (B, T, d) → (B, T) of bools.

    The mask is (B, P + T) with P positions in the cache. With any other mask, or with none, no position is padding.
    """
    tokens = own_tokens(attention_mask, x.shape[1])
    return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if tokens is None else tokens.to(x.device)


def first_token(hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The first position that is not padding, where BERT has [CLS]: (B, T, d) → (B,)."""
    return row_tokens(hidden, attention_mask).long().argmax(-1)


def last_token(hidden: Tensor, attended: Tensor | None) -> Tensor:
    """The last attended position, which in a decoder has seen all others: (B, T, d), mask (B, T) → (B,)."""
    positions = torch.arange(hidden.shape[1], device=hidden.device).expand(hidden.shape[0], -1)
    if attended is None:
        return positions[:, -1]
    return (positions * attended.to(hidden.device, torch.long)).argmax(-1)


def take(hidden: Tensor, positions: Tensor) -> Tensor:
    """One position of each row: (B, T, d), (B,) → (B, d)"""
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), positions]


class DenseLayer(nn.Module):
    """A dense layer and an activation over the vector of a sequence (BERT's pooler): (B, d) → (B, d)."""

    def __init__(self, width: int, activation: str):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.activation = ACT2FN[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.dense(x))


def sequence_vector(outputs: Any, attention_mask: Tensor | None) -> Tensor:
    """The vector of each sequence, (B, d): the pooled output, or the first token of an encoder without a pooler."""
    if outputs.pooler_output is not None:
        return outputs.pooler_output
    hidden = outputs.last_hidden_state
    return take(hidden, first_token(hidden, attention_mask))


class ClassificationHead(DenseLayer):
    """A dense layer, an activation and the map to labels in one module (RoBERTa, BART): (B, d) → (B, L)."""

    def __init__(self, config: TriptychBaseConfig, bias: bool):
        super().__init__(config.hidden_size, config.classifier_activation)
        self.dropout = nn.Dropout(config.classifier_dropout_rate)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(self.dropout(super().forward(x)))


def build_classifier(config: TriptychBaseConfig, bias: bool = True) -> nn.Module:
    """The map from a sequence's vector to labels, behind a dense layer if `classifier_activation` names one."""
    if config.classifier_activation == "none":
        return nn.Linear(config.hidden_size, config.num_labels, bias=bias)
    return ClassificationHead(config, bias)
