"""Which tensors of transformers are which tensors of Triptych: a table of rules, read in both directions."""

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
    """The place, in a Triptych model, of one module or parameter of transformers.

    Names are templates: `{i}` stands for the number of a layer, and `{side}` for encoder or decoder. The name of a
    module stands for its weight and its bias.

    Attributes:
        hf: the name in the model of transformers.
        triptych: the names in the Triptych model. If there are none, the model of transformers computes the tensor
            from its configuration, and it is neither read nor written.
        arrangement: how the numbers are arranged.
    """

    hf: str
    triptych: tuple[str, ...] = ()
    arrangement: Arrangement = field(default_factory=Same)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The expression that the names of transformers' tensors match."""
        text = re.escape(self.hf)
        for placeholder, expression in PLACEHOLDERS.items():
            text = text.replace(re.escape(placeholder), expression)
        return re.compile(text + r"(?P<parameter>\.weight|\.bias|)")

    def names(self, hf_name: str) -> list[str] | None:
        """The names of the Triptych tensors for a tensor of transformers; None if the rule does not concern it."""
        match = self.pattern.fullmatch(hf_name)
        if match is None:
            return None
        found = match.groupdict()
        parameter = found.pop("parameter")
        return [name.format(**found) + parameter for name in self.triptych]


def rules(table: dict[str, str], arrangement: Arrangement | None = None) -> tuple[Rule, ...]:
    """Rules for tensors that have one place on each side: {name in transformers: name in Triptych}."""
    return tuple(Rule(hf_name, (name,), arrangement or Same()) for hf_name, name in table.items())


def computed(*hf_names: str) -> tuple[Rule, ...]:
    """Rules for tensors that transformers keeps among the weights, although they follow from the configuration."""
    return tuple(Rule(name, (), Copied()) for name in hf_names)


class Places:
    """The rule for each tensor, between one model of transformers and one Triptych model.

    Args:
        table: the rules of the architecture.
        hf_names, names: the names of all tensors of the model of transformers, and of the Triptych model.
        prefix: what stands before the names of the body in a head of transformers; in Triptych it is `model.`.

    Raises:
        ValueError: tensors of one side have no place on the other; the message names all of them.
    """

    def __init__(self, table: Iterable[Rule], hf_names: Iterable[str], names: Iterable[str], prefix: str) -> None:
        self.found: dict[str, tuple[Rule, list[str]]] = {}
        expected, table = set(names), list(table)
        homeless = []
        for name in hf_names:
            place = next(iter(self.candidates(name, table, expected, prefix)), None)
            if place is None:
                homeless.append(name)
            else:
                self.found[name] = place
        empty = expected - {name for _, names in self.found.values() for name in names}
        if homeless or empty:
            raise ValueError(
                "the table of the architecture is not complete"
                + (f"; without a place in Triptych: {', '.join(sorted(homeless))}" if homeless else "")
                + (f"; without a source in transformers: {', '.join(sorted(empty))}" if empty else "")
            )

    @staticmethod
    def candidates(
        hf_name: str, table: list[Rule], expected: set[str], prefix: str
    ) -> Iterable[tuple[Rule, list[str]]]:
        """The rules for a tensor of transformers, each with names of Triptych tensors that exist."""
        for bare_name in dict.fromkeys((hf_name.removeprefix(f"{prefix}."), hf_name)):
            for rule in table:
                names = rule.names(bare_name)
                for body in ("model.", ""):
                    if names is not None and expected.issuperset(body + name for name in names):
                        yield rule, [body + name for name in names]

    def read(self, hf_tensors: dict[str, Tensor], config: TriptychBaseConfig) -> dict[str, Tensor]:
        """The Triptych tensors. The given dictionary becomes empty on the way, so that its tensors can be freed.

        Raises:
            ValueError: two tensors of transformers that are one tensor in Triptych differ.
        """
        tensors: dict[str, Tensor] = {}
        for hf_name in list(hf_tensors):
            rule, names = self.found[hf_name]
            parts = rule.arrangement.read(hf_tensors.pop(hf_name), config)
            for name, part in zip(names, parts, strict=bool(names and parts)):
                if name in tensors and not torch.equal(tensors[name], part):
                    raise ValueError(
                        f"{hf_name} differs from {name}, but in a Triptych model both are the same tensor"
                    )
                tensors.setdefault(name, part)
        return tensors

    def write(self, tensors: dict[str, Tensor], config: TriptychBaseConfig) -> dict[str, Tensor]:
        """The tensors of transformers, without those that it computes; the given dictionary becomes empty."""
        uses = Counter(name for _, names in self.found.values() for name in names)
        hf_tensors = {}
        for hf_name, (rule, names) in self.found.items():
            if names:
                hf_tensors[hf_name] = rule.arrangement.write([tensors[name] for name in names], config)
            uses.subtract(names)
            for name in names:
                if not uses[name]:
                    tensors.pop(name, None)
        return hf_tensors
