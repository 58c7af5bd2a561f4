"""How the numbers of one tensor of theirs stand in ours, and the way back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..configuration import TriptychBaseConfig

Sizes = Callable[[TriptychBaseConfig], int]


class Arrangement(Protocol):
    """How the numbers of one tensor of theirs stand in one or several of ours."""

    def read(self, theirs: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        """Ours."""

    def write(self, ours: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        """Theirs."""


class Same:
    """As it is."""

    def read(self, theirs: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return [theirs]

    def write(self, ours: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return ours[0]


class Transposed:
    """Matrices are (in, out), as in the Conv1D of GPT; vectors are as they are."""

    def read(self, theirs: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return [theirs.t().contiguous() if theirs.ndim == 2 else theirs]

    def write(self, ours: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return self.read(ours[0], config)[0]


class Row:
    """A vector that is a matrix of one row: (1, n)."""

    def read(self, theirs: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return [theirs[0]]

    def write(self, ours: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return ours[0][None]


class Copied:
    """A second name for what another rule reads."""

    def read(self, theirs: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return []

    def write(self, ours: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return ours[0]


@dataclass(frozen=True)
class FusedAttention:
    """Queries, keys and values in one matrix: so many groups one after the other, each its queries, keys, values.

    One group is GPT-2's order, a group for each key and value head GPT-NeoX's and Falcon's.
    """

    groups: Sizes = lambda config: 1

    def read(self, theirs: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        groups = self.groups(config)
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        widths = (heads * config.head_dim, kv_heads * config.head_dim, kv_heads * config.value_head_dim)
        parts = theirs.unflatten(0, (groups, -1)).split([width // groups for width in widths], dim=1)
        return [part.flatten(0, 1).contiguous() for part in parts]

    def write(self, ours: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return torch.cat([part.unflatten(0, (self.groups(config), -1)) for part in ours], dim=1).flatten(0, 1)


class Stacked:
    """Two matrices of one size, one under the other, as Phi-3's gate and the map beside it."""

    def read(self, theirs: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return [part.contiguous() for part in theirs.chunk(2)]

    def write(self, ours: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return torch.cat(ours)


class RotaryPairs:
    """Rotated dimensions stand in pairs (2i, 2i + 1), as in GPT-J; ours in halves (i, i + r/2)."""

    def reorder(self, rows: Tensor, config: TriptychBaseConfig, order: Callable[[Tensor], Tensor]) -> Tensor:
        heads = rows.unflatten(0, (-1, config.head_dim))
        width = config.rotary_dim or config.head_dim
        turned, rest = heads[:, :width], heads[:, width:]
        return torch.cat([order(turned), rest], dim=1).flatten(0, 1)

    def read(self, theirs: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return [self.reorder(theirs, config, lambda x: x.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1, 2))]

    def write(self, ours: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return self.reorder(ours[0], config, lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2))


@dataclass(frozen=True)
class Chain:
    """One arrangement (of one tensor) after the other."""

    first: Arrangement
    second: Arrangement

    def read(self, theirs: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        return self.second.read(self.first.read(theirs, config)[0], config)

    def write(self, ours: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        return self.first.write([self.second.write(ours, config)], config)
