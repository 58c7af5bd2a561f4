"""How the numbers of one tensor of transformers are arranged in Triptych tensors, and the way back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..configuration import TriptychBaseConfig

Sizes = Callable[[TriptychBaseConfig], int]


class Arrangement(Protocol):
    """How the numbers of one tensor of transformers are arranged in one or several Triptych tensors.

    `config` is always the configuration of the Triptych model.
    """

    def read(self, tensor: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        """The Triptych tensors for a tensor of transformers."""

    def write(self, parts: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        """The tensor of transformers for Triptych tensors."""


class Same:
    """The numbers are arranged in the same way."""

    def read(self, tensor: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return [tensor]

    def write(self, parts: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return parts[0]


class Transposed:
    """Matrices have the shape (in, out), as in the Conv1D of GPT; vectors are the same."""

    def read(self, tensor: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return [tensor.t().contiguous() if tensor.ndim == 2 else tensor]

    def write(self, parts: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return self.read(parts[0], config)[0]


class Row:
    """A vector of shape (n,) is stored as a matrix of shape (1, n)."""

    def read(self, tensor: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return [tensor[0]]

    def write(self, parts: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return parts[0][None]


class Copied:
    """The tensor is a copy of one that another rule reads, so it is not read, only written."""

    def read(self, tensor: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return []

    def write(self, parts: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return parts[0]


@dataclass(frozen=True)
class FusedAttention:
    """The maps to queries, keys and values are one matrix: its rows form groups of queries, then keys, then values.

    GPT-2 has one group. GPT-NeoX and Falcon have a group for each key and value head.

    Attributes:
        groups: the number of groups.
    """

    groups: Sizes = lambda config: 1

    def read(self, tensor: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        groups = self.groups(config)
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        widths = (heads * config.head_dim, kv_heads * config.head_dim, kv_heads * config.value_head_dim)
        parts = tensor.unflatten(0, (groups, -1)).split([width // groups for width in widths], dim=1)
        return [part.flatten(0, 1).contiguous() for part in parts]

    def write(self, parts: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return torch.cat([part.unflatten(0, (self.groups(config), -1)) for part in parts], dim=1).flatten(0, 1)


class Stacked:
    """Two matrices of the same size are one matrix, the first above the second, as the gate and the map of Phi-3."""

    def read(self, tensor: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return [part.contiguous() for part in tensor.chunk(2)]

    def write(self, parts: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return torch.cat(parts)


class RotaryPairs:
    """Rotated dimensions stand in pairs (2i, 2i + 1), as in GPT-J; in Triptych they stand in halves (i, i + r/2)."""

    def reorder(self, rows: Tensor, config: TriptychBaseConfig, order: Callable[[Tensor], Tensor]) -> Tensor:
        heads = rows.unflatten(0, (-1, config.head_dim))
        width = config.rotary_dim or config.head_dim
        rotated, rest = heads[:, :width], heads[:, width:]
        return torch.cat([order(rotated), rest], dim=1).flatten(0, 1)

    def read(self, tensor: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return [self.reorder(tensor, config, lambda x: x.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1, 2))]

    def write(self, parts: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return self.reorder(parts[0], config, lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2))


@dataclass(frozen=True)
class Chain:
    """Two arrangements, one after the other; the first has one part."""

    first: Arrangement
    second: Arrangement

    def read(self, tensor: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return self.second.read(self.first.read(tensor, config)[0], config)

    def write(self, parts: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return self.first.write([self.second.write(parts, config)], config)
