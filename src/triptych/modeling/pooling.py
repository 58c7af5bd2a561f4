"""One vector for a whole sequence: which position stands for it, and BERT's dense layer over that position."""

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


class Pooler(nn.Module):
    """A dense layer and an activation over the vector that stands for the sequence (BERT, BART). (B, d) → (B, d)"""

    def __init__(self, config: TriptychBaseConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACT2FN[config.pooler]

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.dense(x))


def build_pooler(config: TriptychBaseConfig) -> nn.Module:
    """The configured pooler; with "none" the vector stays as it is."""
    return nn.Identity() if config.pooler == "none" else Pooler(config)
