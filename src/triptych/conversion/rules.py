"""From their tensors to ours and back: one table of rules for each architecture, read in both directions."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from ..configuration import TriptychBaseConfig
from ..modeling.positions import SinusoidalPositions

PLACEHOLDERS = {"{i}": r"(?P<i>\d+)", "{side}": r"(?P<side>encoder|decoder)"}
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


class Sinusoids:
    """A table of as many rows as they please that they compute as ours are computed, but for a row of zeros.

    Some make it a parameter, so that it can have been trained: then reading it raises a ValueError.
    """

    def read(self, theirs: Tensor, config: TriptychBaseConfig) -> list[Tensor]:
        rows = torch.arange(len(theirs), device=theirs.device) - config.position_offset
        ours = SinusoidalPositions(config, False).embed(rows, theirs.dtype)
        error = ((ours - theirs).abs() * theirs.any(-1, keepdim=True)).max().item()
        if error > max(1e-3, torch.finfo(theirs.dtype).eps):
            raise ValueError(f"the table of sinusoids was trained, it is off by {error}: Triptych computes sinusoids")
        return []

    def write(self, ours: list[Tensor], config: TriptychBaseConfig) -> Tensor:
        raise NotImplementedError("they compute it")


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


@dataclass(frozen=True)
class Rule:
    """Where one module or parameter of theirs is in our model.

    Names are templates: `{i}` stands for the number of a layer, `{side}` for encoder or decoder. The name of a module
    stands for its weight and its bias. `ours=()`: theirs to compute from the configuration, so at most checked.
    """

    theirs: str
    ours: tuple[str, ...] = ()
    arrangement: Arrangement = field(default_factory=Same)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        text = re.escape(self.theirs)
        for placeholder, expression in PLACEHOLDERS.items():
            text = text.replace(re.escape(placeholder), expression)
        return re.compile(text + r"(?P<parameter>\.weight|\.bias|)")

    def names(self, theirs: str) -> list[str] | None:
        """Our names for a name of theirs, or None where the rule does not speak of it."""
        match = self.pattern.fullmatch(theirs)
        if match is None:
            return None
        found = match.groupdict()
        parameter = found.pop("parameter")
        return [ours.format(**found) + parameter for ours in self.ours]


def rules(table: dict[str, str], arrangement: Arrangement | None = None) -> tuple[Rule, ...]:
    """Rules for what has one place on either side: {theirs: ours}."""
    return tuple(Rule(theirs, (ours,), arrangement or Same()) for theirs, ours in table.items())


def computed(*names: str, arrangement: Arrangement | None = None) -> tuple[Rule, ...]:
    """Rules for what they keep among their weights, though it follows from the configuration."""
    return tuple(Rule(name, (), arrangement or Copied()) for name in names)


class Places:
    """Which rule holds for which tensor, between one model of theirs and one of ours.

    Args:
        theirs, ours: names of all tensors on either side.
        prefix: what stands before the names of their body inside a head, as ours have `model.`.

    Raises:
        ValueError: a tensor of one side has no place on the other; all of them are named.
    """

    def __init__(self, table: Iterable[Rule], theirs: Iterable[str], ours: Iterable[str], prefix: str) -> None:
        self.found: dict[str, tuple[Rule, list[str]]] = {}
        expected, table = set(ours), list(table)
        homeless = []
        for name in theirs:
            place = next(iter(self.candidates(name, table, expected, prefix)), None)
            if place is None:
                homeless.append(name)
            else:
                self.found[name] = place
        empty = expected - {name for _, names in self.found.values() for name in names}
        if homeless or empty:
            raise ValueError(
                "the table of the architecture is not complete"
                + (f"; theirs without a place in ours: {', '.join(sorted(homeless))}" if homeless else "")
                + (f"; ours without a source: {', '.join(sorted(empty))}" if empty else "")
            )

    @staticmethod
    def candidates(name: str, table: list[Rule], expected: set[str], prefix: str) -> Iterable[tuple[Rule, list[str]]]:
        for theirs in dict.fromkeys((name.removeprefix(f"{prefix}."), name)):
            for rule in table:
                names = rule.names(theirs)
                for body in ("model.", ""):
                    if names is not None and expected.issuperset(body + ours for ours in names):
                        yield rule, [body + ours for ours in names]

    def read(self, theirs: dict[str, Tensor], config: TriptychBaseConfig) -> dict[str, Tensor]:
        """Our tensors. Empties the dictionary as it goes, so that theirs can be freed.

        Raises:
            ValueError: two tensors of theirs that are one of ours differ.
        """
        ours: dict[str, Tensor] = {}
        for name in list(theirs):
            rule, names = self.found[name]
            tensor = theirs.pop(name)
            parts = rule.arrangement.read(tensor, config)
            for place, part in zip(names, parts, strict=bool(names and parts)):
                if place in ours and not torch.equal(ours[place], part):
                    raise ValueError(f"{name} differs from what is the same tensor, {place}, in a Triptych model")
                ours.setdefault(place, part)
        return ours

    def write(self, ours: dict[str, Tensor], config: TriptychBaseConfig) -> dict[str, Tensor]:
        """Their tensors, without those that they compute. Empties the dictionary as it goes, as `read` does."""
        uses = Counter(place for _, places in self.found.values() for place in places)
        theirs = {}
        for name, (rule, places) in self.found.items():
            if places:
                theirs[name] = rule.arrangement.write([ours[place] for place in places], config)
            uses.subtract(places)
            for place in places:
                if not uses[place]:
                    ours.pop(place, None)
        return theirs
