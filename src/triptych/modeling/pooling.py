"""One vector for a whole sequence: which position stands for it, and the dense layers and maps over that vector.

B batch, T positions, L labels, d residual width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from ..configuration import TriptychBaseConfig
from .documents import own_tokens


def first_position(hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The first position that is not padding: (B, T, d) → (B,). BERT's, which puts [CLS] there."""
    tokens = own_tokens(attention_mask, hidden.shape[1])
    if tokens is None:
        return torch.zeros(hidden.shape[0], dtype=torch.long, device=hidden.device)
    return tokens.to(hidden.device, torch.long).argmax(-1)


def last_position(hidden: Tensor, attended: Tensor | None) -> Tensor:
    """The last position that is not padding: (B, T, d), mask (B, T) → (B,). GPT's, where a position sees the past."""
    positions = torch.arange(hidden.shape[1], device=hidden.device).expand(hidden.shape[0], -1)
    if attended is None:
        return positions[:, -1]
    return (positions * attended.to(hidden.device, torch.long)).argmax(-1)


def take(hidden: Tensor, positions: Tensor) -> Tensor:
    """One position of each row: (B, T, d), (B,) → (B, d)"""
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), positions]


class DenseLayer(nn.Module):
    """A dense layer and an activation over the vector that stands for a sequence (BERT's pooler). (B, d) → (B, d)"""

    def __init__(self, width: int, activation: str):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.activation = ACT2FN[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.dense(x))


def sequence_vector(outputs: Any, attention_mask: Tensor | None) -> Tensor:
    """What an encoder says of each sequence: its pooled output, or without a pooler its first token. (B, d)"""
    if outputs.pooler_output is not None:
        return outputs.pooler_output
    hidden = outputs.last_hidden_state
    return take(hidden, first_position(hidden, attention_mask))


class ClassificationHead(DenseLayer):
    """A dense layer, an activation and the map to labels in one module (RoBERTa, BART). (B, d) → (B, L)"""

    def __init__(self, config: TriptychBaseConfig, bias: bool):
        super().__init__(config.hidden_size, config.classifier_activation)
        self.dropout = nn.Dropout(config.classifier_dropout_rate)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(self.dropout(super().forward(x)))


def build_classifier(config: TriptychBaseConfig, bias: bool = True) -> nn.Module:
    """The map from a sequence's vector to labels, behind the dense layer that the configuration asks for."""
    if config.classifier_activation == "none":
        return nn.Linear(config.hidden_size, config.num_labels, bias=bias)
    return ClassificationHead(config, bias)
