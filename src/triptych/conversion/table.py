"""One architecture of transformers as data: how its configuration and its tensors map to those of Triptych."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedModel

from ..configuration import TriptychBaseConfig
from .fields import (
    BOOKKEEPING,
    CALLING,
    COMMON,
    DEFAULTS,
    OF_POSITIONS,
    TOKENS,
    TRAINING,
    bands,
    training_alone,
    warn_of_training,
)
from .rules import Rule
from .sinusoids import are_sinusoids


class CannotExpress(ValueError):
    """A model has a feature that the other library does not have.

    Args:
        wanted: the fields of Triptych that would have to have another value, and this value.
    """

    def __init__(self, message: str, wanted: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.wanted = dict(wanted or {})


def named_alike(family: str, hf_family: str, *kinds: str) -> dict[str, str]:
    """Pairs of classes whose names end alike: {class of transformers: class of Triptych}. The body is called Model."""
    return {f"{hf_family}{kind}": f"{family}{kind}" for kind in ("Model", *kinds)}


def no_fields(config: Any, head: str) -> dict[str, Any]:
    """No further fields."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How models with one `model_type` of transformers become Triptych models, and the way back.

    In this package, names with `hf` stand for the side of transformers, and names without it for the side of Triptych.
    A `head` is the name of a class of transformers.

    Args:
        model_type: the `model_type` of transformers.
        config_class: the configuration of the Triptych family.
        heads: {class of transformers: class of Triptych}.
        fields: {field of transformers: field of Triptych}, where the value is the same.
        fixed: the fields of Triptych that have the same value in all models of the architecture.
        refused: {field of transformers: (the values that Triptych can express, the meaning of other values)}.
        read: (configuration of transformers, head) → the fields of Triptych that take more than another name.
        write: (configuration of Triptych, head) → the fields of transformers, for the way back.
        masked_positions: the field of Triptych with this name. It says whether the architecture counts masked tokens
            where no positions are given.
        rules: the places of the tensors. The names of the body have no prefix (`bert.`), as they have in a head.
        sinusoids: (how the names of the tables of sinusoids end, the layout of the sinusoids). If the table is a
            weight that has a rule, another table there holds learned positions. If the table is a buffer, another
            table is refused.
    """

    model_type: str
    config_class: type[TriptychBaseConfig]
    heads: Mapping[str, str]
    fields: Mapping[str, str]
    rules: tuple[Rule, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    masked_positions: str = "counted"
    refused: Mapping[str, tuple[tuple[Any, ...], str]] = field(default_factory=dict)
    read: Callable[[Any, str], dict[str, Any]] = no_fields
    write: Callable[[Any, str], dict[str, Any]] = no_fields
    sinusoids: tuple[str, str] | None = None

    # ---- from transformers to Triptych ------------------------------------------------------------------------------

    def read_config(self, hf_config: PreTrainedConfig, head: str) -> TriptychBaseConfig:
        """The Triptych configuration of the same model. Fields that Triptych does not have are kept in `origin`.

        Raises:
            CannotExpress: the model has a feature that Triptych models do not have.
        """
        for name, (allowed, meaning) in self.refused.items():
            value = getattr(hf_config, name, allowed[0])
            if value not in allowed:
                raise CannotExpress(
                    f"{type(hf_config).__name__} has {name}={value!r}, {meaning}: Triptych has no such thing"
                )
        config = self.config_class(**self.read_fields(hf_config, head))
        mapped = self.write_fields(config, head)
        for name, value in mapped.items():
            given = getattr(hf_config, name, None)
            if given != value and not (name in TOKENS and value is None):
                raise CannotExpress(
                    f"{type(hf_config).__name__} has {name}={given!r}, a Triptych model would have {name}={value!r}"
                )
        derived = type(hf_config)(**{**self.training_fields(config), **mapped}).to_dict()
        kept = {
            name: value
            for name, value in hf_config.to_dict().items()
            if name not in BOOKKEEPING and value != derived.get(name)
        }
        config.origin = {"model_type": self.model_type, **kept}
        warn_of_training(hf_config, config, head)
        return config

    def read_fields(self, hf_config: PreTrainedConfig, head: str) -> dict[str, Any]:
        """The fields of Triptych for a configuration of transformers; a token outside the vocabulary becomes None."""
        fields = {name: getattr(hf_config, hf_name) for hf_name, name in self.fields.items()}
        common = {
            name: getattr(hf_config, name, None) for name in COMMON if name in TOKENS or hasattr(hf_config, name)
        }
        if "decoder_start_token_id" not in self.config_class.__dataclass_fields__:
            common.pop("decoder_start_token_id", None)
        fields |= {**common, "masked_positions": self.masked_positions, **self.fixed, **self.read(hf_config, head)}
        size = fields["vocab_size"] if fields.get("decoder_vocab_size") is None else fields["decoder_vocab_size"]
        for name in TOKENS:
            token = fields.get(name)
            if isinstance(token, int) and not 0 <= token < size:
                fields[name] = None
        return fields

    @property
    def learns_positions(self) -> bool:
        """Whether the sinusoids are weights in transformers, so that training can have changed them."""
        places = (name for rule in self.rules for name in rule.triptych)
        return self.sinusoids is not None and any(name.endswith("positions.table") for name in places)

    def read_positions(self, config: TriptychBaseConfig, hf_model: PreTrainedModel) -> None:
        """Sets `config.positions` to "learned" if a table of the model holds other numbers than the sinusoids.

        Raises:
            CannotExpress: the table is a buffer, which no checkpoint holds.
        """
        if self.sinusoids is None:
            return
        end, layout = self.sinusoids
        padding = config.position_offset - 1  # the row of the padding, which may hold zeros; -1 if there is none
        for name, table in (*hf_model.named_parameters(), *hf_model.named_buffers()):
            if not name.endswith(end) or are_sinusoids(table, layout, empty_row=padding if padding >= 0 else None):
                continue
            if not self.learns_positions:
                raise CannotExpress(
                    f"{type(hf_model).__name__} has other numbers than the sinusoids in {name}, although no "
                    "checkpoint of this class holds that table: Triptych computes sinusoids"
                )
            config.positions = "learned"

    # ---- from Triptych to transformers ------------------------------------------------------------------------------

    def head_for(self, class_name: str) -> str:
        """The class of transformers for a Triptych class; raises CannotExpress if there is none."""
        found = [head for head, name in self.heads.items() if name == class_name]
        if not found:
            raise CannotExpress(
                f"{self.model_type} has no counterpart of {class_name}; it has {', '.join(self.heads)}"
            )
        return found[0]

    def write_config(
        self, config: TriptychBaseConfig, head: str, idle: frozenset[str] = frozenset()
    ) -> PreTrainedConfig:
        """The configuration of transformers for a Triptych model.

        Args:
            idle: the fields that the Triptych class does not use, so that they may have another value there.

        Raises:
            CannotExpress: the architecture cannot have the values of some fields; the message names all of them.
        """
        origin = dict(config.origin or {})
        kept = origin if origin.pop("model_type", None) == self.model_type else {}
        mapped = self.write_fields(config, head)
        fields = {
            **self.training_fields(config),
            **kept,
            **{name: value for name, value in mapped.items() if name not in kept or value is not None},
        }
        try:
            hf_config: PreTrainedConfig = AutoConfig.for_model(self.model_type, **fields)
            # When it is set like this, it also chooses the kernel that returns attention weights.
            hf_config.output_attentions = config.output_attentions
            again = self.config_class(**self.read_fields(hf_config, head))
        except (ValueError, StrictDataclassError) as error:
            raise CannotExpress(f"{self.model_type} cannot express this: {' '.join(str(error).split())}") from error
        wanted = {
            name: getattr(again, name)
            for name in sorted(self.compared_fields(config, again, idle))
            if getattr(config, name, None) != getattr(again, name, None)
        }
        if refusal := self.refusal(config, wanted):
            raise refusal
        return hf_config

    def refusal(self, config: TriptychBaseConfig, wanted: Mapping[str, Any]) -> CannotExpress | None:
        """The error that names the values of a configuration that the architecture lacks; None if it lacks none.

        Args:
            wanted: {field: the value that it would have to have}.
        """
        differences = [f"{name}={getattr(config, name)!r} (there {value!r})" for name, value in wanted.items()]
        if not differences:
            return None
        return CannotExpress(f"{self.model_type} cannot express {', '.join(differences)}", wanted)

    def write_fields(self, config: TriptychBaseConfig, head: str) -> dict[str, Any]:
        """The fields of transformers for a Triptych configuration."""
        fields = {hf_name: getattr(config, name) for hf_name, name in self.fields.items()}
        common = {name: getattr(config, name) for name in COMMON if hasattr(config, name)}
        for name in ("use_cache", *(name for name in TOKENS if common.get(name) is None)):
            if not hasattr(CONFIG_MAPPING[self.model_type], name):
                common.pop(name, None)
        return {**common, **fields, **self.write(config, head)}

    def training_fields(self, config: TriptychBaseConfig) -> dict[str, float]:
        """The fields of this architecture that only training uses, and for which Triptych has no field."""
        names = {f.name for f in dataclasses.fields(CONFIG_MAPPING[self.model_type])}
        return {name: value for name, value in training_alone(config).items() if name in names}

    def compared_fields(self, config: TriptychBaseConfig, again: TriptychBaseConfig, idle: frozenset[str]) -> set[str]:
        """The fields that must be the same in a configuration and in the one that comes back from transformers."""
        unread = TRAINING | DEFAULTS | CALLING | BOOKKEEPING | {"origin"} | idle
        unread |= {name for scheme, names in OF_POSITIONS.items() if scheme != config.positions for name in names}
        if self.learns_positions and config.positions == "learned":  # transformers has no field for it
            unread |= {"positions"}
        if bands(config) == bands(again):  # a pattern can be written in several ways
            unread |= {"attention_pattern"}
        return {f.name for f in dataclasses.fields(self.config_class)} - unread
