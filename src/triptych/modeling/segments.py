"""The embeddings of segments, which BERT adds to the embeddings of tokens and positions."""

import torch
from torch import Tensor, nn

from ..configuration import TriptychBaseConfig
from .lookup import lookup


class Segments(nn.Module):
    """Adds BERT's segment embeddings. Without `token_type_ids`, all positions belong to the first segment."""

    def __init__(self, config: TriptychBaseConfig):
        super().__init__()
        self.table = nn.Embedding(config.type_vocab_size, config.hidden_size)

    def forward(self, x: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """x (B, T, d), token_type_ids (B, T) → (B, T, d)"""
        if token_type_ids is None:  # it is looked up, because an offloaded weight is absent until the table is called
            token_type_ids = torch.zeros(1, 1, dtype=torch.long, device=x.device)
        return x + lookup(self.table, token_type_ids, "token_type_ids", "type_vocab_size")


class NoSegments(nn.Module):
    """No segment embeddings: adds nothing."""

    def forward(self, x: Tensor, token_type_ids: Tensor | None) -> Tensor:
        return x
