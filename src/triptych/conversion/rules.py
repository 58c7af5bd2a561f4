"""From their tensors to ours and back: one table of rules for each architecture, read in both directions."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..configuration import TriptychBaseConfig
from .arrangements import Arrangement, Copied, Same

PLACEHOLDERS = {"{i}": r"(?P<i>\d+)", "{side}": r"(?P<side>encoder|decoder)"}


@dataclass(frozen=True)
class Rule:
    """Where one module or parameter of theirs is in our model.

    Names are templates: `{i}` stands for the number of a layer, `{side}` for encoder or decoder. The name of a module
    stands for its weight and its bias. `ours=()`: theirs to compute from the configuration, neither read nor written.
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


def computed(*names: str) -> tuple[Rule, ...]:
    """Rules for what they keep among their weights, though it follows from the configuration."""
    return tuple(Rule(name, (), Copied()) for name in names)


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
