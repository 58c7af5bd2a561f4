"""One public architecture as data: how its configuration maps to ours, and where its tensors stand."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from ..configuration import TriptychBaseConfig
from .rules import Rule
from .sinusoids import are_sinusoids

# What all configurations call by one name. A token that lies outside the vocabulary is None in ours.
TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
OUTPUTS = ("output_attentions", "output_hidden_states", "return_dict")
COMMON = (*TOKENS, *OUTPUTS, "tie_word_embeddings", "problem_type", "id2label", "label2id", "use_cache")
# What changes no output of a finished model, so that another architecture need not have it.
TRAINING = {
    "activation_dropout",
    "attention_dropout",
    "classifier_dropout",
    "dropout",
    "initializer",
    "initializer_range",
    "label_smoothing",
    "use_cache",
}
# What a call can say by itself, so that another architecture may have another default.
DEFAULTS = {"masked_positions"}
# What changes the meaning of an input that need not be given, and nothing else.
CALLING = {"decoder_start", "first_position_id"}
# Fields that one position scheme alone reads.
OF_POSITIONS = {
    "sinusoidal": {"sinusoid_layout"},
    "relative": {"relative_max_distance", "relative_num_buckets"},
    "rotary": {"rotary_dim"},
}
# What training alone knows, and ours has no word for: the share of layers that is left out at random, a dropout before
# the map to a span, and a dropout of the embeddings that is not that of the sublayers.
LAYERS_LEFT_OUT = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")
SPAN_DROPOUT = ("qa_dropout",)
EMBEDDING_DROPOUT = ("embd_pdrop", "embed_dropout")
# What transformers writes into every configuration by itself.
BOOKKEEPING = {"_name_or_path", "architectures", "dtype", "model_type", "transformers_version"}


logger = logging.get_logger(__name__)


class CannotExpress(ValueError):
    """A feature that the other side does not have."""


def bands(config: Any) -> tuple[int | None, list[str]]:
    """What a pattern of attention comes to: the width of the bands, and what each layer sees."""
    depth = max(getattr(config, name, 0) for name in ("num_hidden_layers", "encoder_layers", "decoder_layers"))
    return config.sliding_window, [config.attention_kind(layer) for layer in range(depth)]


def named_alike(family: str, name: str, *kinds: str) -> dict[str, str]:
    """Their classes and ours, which end alike; the body is called Model."""
    return {f"{name}{kind}": f"{family}{kind}" for kind in ("Model", *kinds)}


def nothing(config: Any, head: str) -> dict[str, Any]:
    """No further fields."""
    return {}


def training_alone(ours: TriptychBaseConfig) -> dict[str, float]:
    """Their fields for which ours has no word, with the values by which theirs trains as ours does."""
    return {
        **dict.fromkeys((*LAYERS_LEFT_OUT, *SPAN_DROPOUT), 0.0),
        **dict.fromkeys(EMBEDDING_DROPOUT, ours.dropout),
    }


def warn_of_training(theirs: PreTrainedConfig, ours: TriptychBaseConfig, head: str) -> None:
    """Says what only training would notice: outputs of the finished model are the same."""
    for name, here in training_alone(ours).items():
        if name in SPAN_DROPOUT and not head.endswith("ForQuestionAnswering"):
            continue
        if (value := getattr(theirs, name, here)) != here:
            logger.warning_once(
                f"{type(theirs).__name__} has {name}={value}, for which a Triptych model has no field: in training it "
                f"computes as with {name}={here}; outputs in evaluation are the same"
            )


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How models of one `model_type` of transformers become ours.

    Args:
        model_type: their `model_type`.
        config_class: our family's configuration.
        heads: their class: our class.
        fields: their field: our field, where the value passes as it is.
        fixed: our fields that are the same in all models of the architecture.
        refused: their field: (the values that can be expressed, what another one means).
        read: (their configuration, their class) → our fields that take more than another name.
        write: (our configuration, their class) → their fields, the way back.
        masked_positions: our field of that name: whether they count masked tokens where no positions are given.
        rules: the places of their tensors. Names of the body stand without the prefix of the head (`bert.`).
        sinusoids: (how the names of their tables of sinusoids end, the layout). Where their table is a weight that has
            a rule, another table is one of learned positions, there and back; another table in a buffer is refused.
    """

    model_type: str
    config_class: type[TriptychBaseConfig]
    heads: Mapping[str, str]
    fields: Mapping[str, str]
    rules: tuple[Rule, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    masked_positions: str = "counted"
    refused: Mapping[str, tuple[tuple[Any, ...], str]] = field(default_factory=dict)
    read: Callable[[Any, str], dict[str, Any]] = nothing
    write: Callable[[Any, str], dict[str, Any]] = nothing
    sinusoids: tuple[str, str] | None = None

    @property
    def learns_positions(self) -> bool:
        """Whether their sinusoids are weights, so that other numbers can stand in their place."""
        places = (name for rule in self.rules for name in rule.ours)
        return self.sinusoids is not None and any(name.endswith("positions.table") for name in places)

    def heed_tables(self, ours: TriptychBaseConfig, theirs: PreTrainedModel) -> None:
        """Makes positions learned where a table of theirs holds other numbers than the sinusoids.

        Raises:
            CannotExpress: it is a table that no checkpoint holds.
        """
        if self.sinusoids is None:
            return
        end, layout = self.sinusoids
        padding = ours.position_offset - 1  # whose row is zeros, where there is one
        for name, table in (*theirs.named_parameters(), *theirs.named_buffers()):
            if not name.endswith(end) or are_sinusoids(table, layout, empty_row=padding if padding >= 0 else None):
                continue
            if not self.learns_positions:
                raise CannotExpress(
                    f"{type(theirs).__name__} has other numbers than the sinusoids in {name}, which no checkpoint of "
                    "its own holds: Triptych computes sinusoids"
                )
            ours.positions = "learned"

    def head_for(self, ours: str) -> str:
        """Their class for one of ours; raises CannotExpress where there is none."""
        found = [theirs for theirs, name in self.heads.items() if name == ours]
        if not found:
            raise CannotExpress(f"{self.model_type} has no counterpart of {ours}; it has {', '.join(self.heads)}")
        return found[0]

    def our_config(self, theirs: PreTrainedConfig, head: str) -> TriptychBaseConfig:
        """The configuration of the same model; what has no counterpart in ours is kept in `origin`.

        Raises:
            CannotExpress: a feature that our models do not have.
        """
        for name, (allowed, meaning) in self.refused.items():
            value = getattr(theirs, name, allowed[0])
            if value not in allowed:
                raise CannotExpress(
                    f"{type(theirs).__name__} has {name}={value!r}, {meaning}: Triptych has no such thing"
                )
        ours = self.config_class(**self.our_fields(theirs, head))
        mapped = self.their_fields(ours, head)
        for name, value in mapped.items():
            given = getattr(theirs, name, None)
            if given != value and not (name in TOKENS and value is None):
                raise CannotExpress(
                    f"{type(theirs).__name__} has {name}={given!r}, a Triptych model would have {name}={value!r}"
                )
        derived = type(theirs)(**{**self.unspoken(ours), **mapped}).to_dict()
        kept = {
            name: value
            for name, value in theirs.to_dict().items()
            if name not in BOOKKEEPING and value != derived.get(name)
        }
        ours.origin = {"model_type": self.model_type, **kept}
        warn_of_training(theirs, ours, head)
        return ours

    def our_fields(self, theirs: PreTrainedConfig, head: str) -> dict[str, Any]:
        fields = {ours: getattr(theirs, name) for name, ours in self.fields.items()}
        common = {name: getattr(theirs, name, None) for name in COMMON if name in TOKENS or hasattr(theirs, name)}
        if "decoder_start_token_id" not in self.config_class.__dataclass_fields__:
            common.pop("decoder_start_token_id", None)
        fields |= {**common, "masked_positions": self.masked_positions, **self.fixed, **self.read(theirs, head)}
        size = fields["vocab_size"] if fields.get("decoder_vocab_size") is None else fields["decoder_vocab_size"]
        for name in TOKENS:
            token = fields.get(name)
            if isinstance(token, int) and not 0 <= token < size:
                fields[name] = None
        return fields

    def their_fields(self, ours: TriptychBaseConfig, head: str) -> dict[str, Any]:
        fields = {name: getattr(ours, own) for name, own in self.fields.items()}
        common = {name: getattr(ours, name) for name in COMMON if hasattr(ours, name)}
        for name in ("use_cache", *(name for name in TOKENS if common.get(name) is None)):
            if not hasattr(CONFIG_MAPPING[self.model_type], name):
                common.pop(name, None)
        return {**common, **fields, **self.write(ours, head)}

    def unspoken(self, ours: TriptychBaseConfig) -> dict[str, float]:
        """Those of their fields that ours has no word for, as a model that never was theirs trains."""
        names = {f.name for f in dataclasses.fields(CONFIG_MAPPING[self.model_type])}
        return {name: value for name, value in training_alone(ours).items() if name in names}

    def their_config(
        self, ours: TriptychBaseConfig, head: str, idle: frozenset[str] = frozenset()
    ) -> PreTrainedConfig:
        """The way back.

        Args:
            idle: our fields that the class does not read, so that theirs may have another value.

        Raises:
            CannotExpress: a field of ours that the architecture has otherwise; all of them are named.
        """
        origin = dict(ours.origin or {})
        kept = origin if origin.pop("model_type", None) == self.model_type else {}
        mapped = self.their_fields(ours, head)
        fields = {
            **self.unspoken(ours),
            **kept,
            **{name: value for name, value in mapped.items() if name not in kept or value is not None},
        }
        try:
            theirs: PreTrainedConfig = AutoConfig.for_model(self.model_type, **fields)
            theirs.output_attentions = ours.output_attentions  # set like this, it chooses the kernel that returns them
            again = self.config_class(**self.our_fields(theirs, head))
        except (ValueError, StrictDataclassError) as error:
            raise CannotExpress(f"{self.model_type} cannot express this: {' '.join(str(error).split())}") from error
        unread = TRAINING | DEFAULTS | CALLING | BOOKKEEPING | {"origin"} | idle
        unread |= {name for scheme, own in OF_POSITIONS.items() if scheme != ours.positions for name in own}
        if self.learns_positions and ours.positions == "learned":  # their configuration has no word for it
            unread |= {"positions"}
        names = {f.name for f in dataclasses.fields(self.config_class)} - unread
        if bands(ours) == bands(again):  # a pattern can be written in several ways
            names.discard("attention_pattern")
        differences = [
            f"{name}={getattr(ours, name)!r} (there {getattr(again, name)!r})"
            for name in sorted(names)
            if getattr(ours, name, None) != getattr(again, name, None)
        ]
        if differences:
            raise CannotExpress(f"{self.model_type} cannot express {', '.join(differences)}")
        return theirs
