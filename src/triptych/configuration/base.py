"""The vocabulary of fields that the three families share, one sentence each."""

import dataclasses
import math
from typing import Any, ClassVar, TypeVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.utils import logging

from .adapters import tell_peft
from .fields import closest, field, number, pattern, probability, size, whole_number, word
from .foreign import from_file
from .names import ELSEWHERE, PASSES
from .parallelism import fully_sharded_plan, tensor_parallel_plan
from .presets import load_preset

logger = logging.get_logger(__name__)

POSITIONS = ("none", "learned", "sinusoidal", "rotary", "relative", "alibi")
SINUSOID_LAYOUTS = ("interleaved", "concatenated", "tensor2tensor")
RESIDUALS = ("post", "pre", "parallel", "parallel_norms")
NORMS = ("layer", "rms")
FEED_FORWARDS = ("plain", "gated")
DENSE_LAYERS = ("none", *ACT2FN)  # the activation of a dense layer, or that there is no layer
ROPE_TYPES = ("default", *ROPE_INIT_FUNCTIONS)
MASKED_POSITIONS = ("skipped", "counted")
INITIALIZERS = ("normal", "depth_scaled", "xavier")

INHERITED = frozenset({"attn_implementation", "num_labels", "output_attentions"})  # options that are no fields
MOST_LABELS = 10_000_000  # transformers names each of them
LARGEST_MATRIX = 2**40  # numbers; 4 TiB in float32, more than 200 times the largest matrix of a preset
FROM_FILE = "_read_from_file"  # marks fields that come from a file: other tools write theirs there

Derived = Any  # None as given means "derive it from the other fields"; once the configuration is made, an int


Config = TypeVar("Config", bound=type)


def strict_with_aliases(config_class: Config) -> Config:
    """huggingface_hub's `strict`, which checks values as they are set, also under a field's other names."""
    checked: Any = strict(config_class)
    checks = checked.__validators__
    checks |= {alias: checks[name] for alias, name in checked.attribute_map.items()}
    checks["num_labels"] = [whole_number(at_least=0, at_most=MOST_LABELS)]
    return config_class


class TriptychBaseConfig(PreTrainedConfig):
    """What the encoder–decoder, the encoder and the decoder have in common.

    A value is checked when it is set, relations between values when the configuration is made, saved or handed to
    a model; the error names the field, the value and the remedy.
    """

    keys_to_ignore_at_inference = ["past_key_values"]
    stacks: ClassVar[dict[str, tuple[str, ...]]] = {
        "": ("self_attention",)
    }  # prefix of each stack in the body, and what its layers attend with

    # --- size
    vocab_size: int = size(37000, "Number of tokens; of the source where source and target have separate ones.")
    hidden_size: int = size(512, "Width of the residual stream, d_model.")
    num_attention_heads: int = size(8, "Number of attention heads, h.")
    num_key_value_heads: Derived = size(None, "Number of key and value heads (GQA; 1 is MQA); None: as many as h.")
    head_dim: Derived = size(None, "Width of a query and a key, d_k; None: d_model / h.")
    value_head_dim: Derived = size(None, "Width of a value, d_v; None: d_k.")
    intermediate_size: int = size(2048, "Inner width of the feed-forward, d_ff.")
    max_position_embeddings: int = size(1024, "Longest sequence; a hard limit for learned positions only.")
    type_vocab_size: int = number(0, "Number of segment types (BERT: 2); 0: no segment embedding.", at_least=0)

    # --- choice, one word each
    positions: str = word("sinusoidal", "How token order enters.", POSITIONS)
    residual: str = word("post", "Where the layer norm stands relative to the residual path.", RESIDUALS)
    norm: str = word("layer", "The kind of normalisation.", NORMS)
    feed_forward: str = word("plain", "Equation (2), or a gated linear unit.", FEED_FORWARDS)
    activation: str = word("relu", "The activation of the feed-forward.", ACT2FN)
    sinusoid_layout: str = word(
        "interleaved",
        "Sine and cosine alternate as in section 3.5, or stand in two halves, or also end at 10000 · 2π exactly.",
        SINUSOID_LAYOUTS,
    )

    # --- detail
    norm_eps: float = number(1e-5, "The epsilon of the normalisation.", above=0)
    norm_bias: bool = field(True, "Whether a layer norm has a bias.")
    attention_bias: bool = field(False, "Whether the query, key and value projections have a bias.")
    attention_output_bias: bool = field(False, "Whether the output projection of attention has a bias.")
    feed_forward_bias: bool = field(True, "Whether the feed-forward has biases.")
    embedding_norm: bool = field(False, "Whether the sum of the embeddings is normalised (BERT).")
    embedding_scale: float | int | None = number(1.0, "Factor on token embeddings; None: √d_model.", above=0)
    attention_scale: float | int | None = number(None, "Factor on q·k; None: 1/√d_k.", above=0)
    logit_scale: float | int = number(1.0, "Factor on the logits (T5 and PaLM: 1/√d_model).", above=0)
    head_bias: bool = field(False, "Whether the map to the vocabulary has a bias.")
    position_offset: int = number(
        0, "The number of the first position, learned or sinusoidal (RoBERTa, BART: 2).", at_least=0
    )
    masked_positions: str = word(
        "skipped",
        "Where no positions are given: whether masked tokens after the first token take positions, too.",
        MASKED_POSITIONS,
    )
    rope_parameters: dict | None = field(None, "Rotary positions: rope_type, rope_theta and their scaling.")
    rotary_dim: int | None = size(None, "How many dimensions of a head are rotated; None: all.")
    relative_num_buckets: int = number(32, "Relative positions: number of distance buckets.", at_least=4)
    relative_max_distance: int = number(128, "Relative positions: from this distance on, one bucket.", at_least=2)
    attention_pattern: list | None = pattern("Self-attention of each layer, repeated: full, or a band's width.")
    tie_word_embeddings: bool = field(True, "Whether the output projection is the (target) embedding matrix.")
    classifier_activation: str = word(
        "none",
        "Activation of the dense layer that a head over sequences has before its map to labels; none: no layer.",
        DENSE_LAYERS,
    )

    # --- training
    dropout: float | int = probability(0.1, "Dropout on sublayer outputs and on the embedding sum, P_drop.")
    attention_dropout: float | int = probability(0.0, "Dropout on attention weights.")
    activation_dropout: float | int = probability(0.0, "Dropout inside the feed-forward, after the activation.")
    classifier_dropout: float | int | None = probability(None, "Dropout before a classifier; None: as `dropout`.")
    label_smoothing: float | int = probability(0.0, "Label smoothing in training, ε_ls, uniform over the vocabulary.")
    initializer: str = word("xavier", "How weights start.", INITIALIZERS)
    initializer_range: float | int = number(0.02, "Standard deviation of normal initialisers.", at_least=0)

    # --- what transformers expects of every configuration
    use_cache: bool = field(True, "Whether keys and values are kept for the next step of generation.")
    pad_token_id: int | None = number(0, "Id of the padding token.", at_least=0)
    bos_token_id: int | None = number(2, "Id of the token that begins a sequence.", at_least=0)
    eos_token_id: int | list[int] | None = field(3, "Id, or ids, of the token that ends a sequence.")

    origin: dict | None = field(None, "Of a converted model: its `model_type`, and its fields that have no name here.")

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> "TriptychBaseConfig":
        """The published configuration `name` (see `triptych.preset_names()`), with any field replaced.

        Raises:
            ValueError: the name is unknown, or belongs to another family; or a field is.
        """
        for unknown in sorted(overrides.keys() - cls.known_names()):
            raise ValueError(cls._no_such_field(unknown))
        return cls(**{**load_preset(name, cls.model_type), **overrides})

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Extends transformers' method: a dictionary from a file may hold any field, options given in code may not.

        An attention kernel that comes from the Hub can be chosen in code only; one that the dictionary names is
        ignored, with a warning.

        Raises:
            ValueError: an option looks like a misspelt field, or is what another configuration calls a field; or what
                transformers reads from the dictionary (`dtype`, `id2label`, ...) has a value of a wrong kind.
        """
        if not kwargs.get("return_unused_kwargs"):  # else they are for the caller, who knows what to do with them
            cls.check_names(kwargs)
        fields = from_file(cls, config_dict)
        try:
            return super().from_dict({**fields, FROM_FILE: True}, **kwargs)
        except (AttributeError, TypeError, RuntimeError) as error:  # from transformers, which does not name the field
            layers = fields.get("per_layer_config")
            where = f"per_layer_config={layers!r}" if layers else "the fields of a file"
            raise ValueError(f"{where} cannot be used in a {cls.__name__}: {error}") from error

    @classmethod
    def from_json_file(cls, json_file: Any) -> Any:
        """Extends transformers' method as `from_dict` does."""
        return cls.from_dict(cls._dict_from_json_file(json_file))

    @classmethod
    def known_names(cls) -> set[str]:
        """All fields, their aliases, and options of transformers that are no fields."""
        return {f.name for f in dataclasses.fields(cls)} | set(cls.attribute_map) | INHERITED

    @classmethod
    def _no_such_field(cls, name: str) -> str:
        meant = cls._meant(name)
        return f"{cls.__name__} has no field {name!r}" + (f"; did you mean {meant!r}?" if meant else "")

    @classmethod
    def _meant(cls, name: str) -> str | None:
        """The field that a wrong name was probably meant to be."""
        known = cls.known_names()
        elsewhere = (field for field in ELSEWHERE.get(name, ()) if field in known)
        return next(elsewhere, None) or closest(name, known)

    @classmethod
    def check_names(cls, fields: dict[str, Any]) -> None:
        """Raises ValueError for a name that looks like a misspelt field, or that other configurations call one."""
        for name in sorted(fields.keys() - cls.known_names() - PASSES):
            passes = name.startswith("_") or (hasattr(cls, name) and name not in ELSEWHERE)
            if not passes and cls._meant(name):
                raise ValueError(cls._no_such_field(name))

    def update(self, config_dict: dict[str, Any]) -> None:
        """As transformers.

        Raises:
            ValueError: a name looks like a misspelt field, or is what another configuration calls a field. Nothing
                has changed then.
        """
        self.check_names(config_dict)
        super().update(config_dict)

    def __post_init__(self, **kwargs: Any) -> None:
        if not kwargs.pop(FROM_FILE, False):
            self.check_names(kwargs)
        for alias in self.attribute_map.keys() & kwargs.keys():  # before other fields are derived from them
            setattr(self, alias, kwargs.pop(alias))
        if self.head_dim is None:
            if self.hidden_size % self.num_attention_heads:
                raise ValueError(
                    f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads="
                    f"{self.num_attention_heads}; change one of them or set head_dim"
                )
            self.head_dim = self.hidden_size // self.num_attention_heads
        self.value_head_dim = self.head_dim if self.value_head_dim is None else self.value_head_dim
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.positions == "rotary":
            self.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0, **(self.rope_parameters or {})}
            if self.rotary_dim is not None:
                part = self.rotary_dim / self.head_dim
                whole = int(self.head_dim * part) == self.rotary_dim  # which transformers computes, rounding down
                self.rope_parameters["partial_rotary_factor"] = part if whole else math.nextafter(part, 1)
        self.drop_foreign_tokens()
        super().__post_init__(**kwargs)
        made: Any = self
        if made.output_attentions:
            made.output_attentions = True  # set like this, it chooses the kernel that returns them
        if self.positions != "rotary":  # transformers fills them in for every model that has the field
            self.rope_parameters = None

    def validate_architecture(self) -> None:
        """Relations between fields; run when the configuration is made and saved, and by every model."""
        self.check_matrices()
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads={self.num_attention_heads} is not a multiple of num_key_value_heads="
                f"{self.num_key_value_heads}; choose a divisor of num_attention_heads"
            )
        if self.positions == "sinusoidal" and self.hidden_size % 2:
            raise ValueError(f"sinusoidal positions need an even hidden_size, got {self.hidden_size}")
        if self.positions == "rotary":
            rope_type = (self.rope_parameters or {}).get("rope_type")
            if rope_type not in ROPE_TYPES:
                raise ValueError(
                    f"unknown rope_type {rope_type!r} in rope_parameters; choose one of: {', '.join(ROPE_TYPES)}"
                )
            base = (self.rope_parameters or {}).get("rope_theta")
            if not isinstance(base, int | float) or not 0 < base < math.inf:
                raise ValueError(f"rope_theta={base!r} in rope_parameters must be a finite number greater than 0")
            width = self.head_dim if self.rotary_dim is None else self.rotary_dim
            if width % 2 or width > self.head_dim:
                raise ValueError(
                    f"rotary positions rotate pairs: rotary_dim={width} must be even and at most "
                    f"head_dim={self.head_dim}"
                )
        exact_buckets = self.relative_num_buckets // 2
        if self.positions == "relative" and self.relative_max_distance <= exact_buckets:
            raise ValueError(
                f"relative_max_distance={self.relative_max_distance} must exceed relative_num_buckets/2="
                f"{exact_buckets}, the distances that have a bucket of their own"
            )
        if self.positions == "relative" and self.sliding_window is not None:
            raise ValueError(
                f"attention_pattern={self.attention_pattern} does not go with relative positions, whose bias is one "
                "for all layers; set attention_pattern=None or choose other positions"
            )

    def check_matrices(self) -> None:
        """Each matrix can be held in memory; the error names the two sizes that make it too large."""
        heads, are_learned = self.num_attention_heads, int(self.positions == "learned")
        matrices = {
            ("vocab_size", "hidden_size"): 1,
            ("decoder_vocab_size", "hidden_size"): 1,
            ("type_vocab_size", "hidden_size"): 1,
            ("max_position_embeddings", "hidden_size"): are_learned,
            ("hidden_size", "intermediate_size"): 1,
            ("hidden_size", "head_dim"): heads,
            ("hidden_size", "value_head_dim"): heads,
        }
        for (rows, columns), factor in matrices.items():
            height, width = getattr(self, rows, None) or 0, getattr(self, columns)
            if height * width * factor > LARGEST_MATRIX:
                of_heads = f" for {factor} heads" if factor > 1 else ""
                raise ValueError(
                    f"{rows}={height} and {columns}={width}{of_heads} make a matrix of {height * width * factor} "
                    f"numbers; choose smaller sizes, a matrix has at most {LARGEST_MATRIX}"
                )

    def drop_foreign_tokens(self) -> None:
        """A default id (GPT-2's 50256) means nothing in a smaller vocabulary; an id that was chosen has to fit."""
        for name, vocab_size in self._special_token_vocabularies().items():
            default = type(self).__dataclass_fields__[name].default
            if default is not None and getattr(self, name) == default >= vocab_size:
                logger.warning_once(
                    f"{type(self).__name__}: the default {name}={default} lies outside the vocabulary of {vocab_size} "
                    f"tokens, None is used; set {name} if there is such a token"
                )
                setattr(self, name, None)

    def validate_token_ids(self) -> None:
        """Every special token stands in the vocabulary that it is read from or written to."""
        for name, vocab_size in self._special_token_vocabularies().items():
            ids = getattr(self, name)
            for token_id in ids if isinstance(ids, list) else [ids]:
                if token_id is not None and not 0 <= token_id < vocab_size:
                    raise ValueError(
                        f"{name}={token_id} lies outside the vocabulary of {vocab_size} tokens; "
                        f"set it to an id below {vocab_size}, to None, or enlarge the vocabulary"
                    )

    def _special_token_vocabularies(self) -> dict[str, int]:
        return dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), self.vocab_size)

    def to_dict(self) -> dict[str, Any]:
        tell_peft(self.model_type)  # which asks for this dictionary, then looks its model type up
        return super().to_dict()

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "TriptychBaseConfig":
        """This configuration: it holds no other, whatever another program calls `text_config` in a file."""
        return self

    @property
    def embedding_names(self) -> tuple[str, ...]:
        """Names of the embedding matrices in the body; the last can be tied to the output projection."""
        return ("embed_tokens",)

    def stack_config(self, stack: str) -> "TriptychBaseConfig":
        """The configuration of one of `stacks`."""
        return self

    @property
    def base_model_tp_plan(self) -> dict[str, str]:
        """How the processes of tensor parallelism share the body."""
        return tensor_parallel_plan(self)

    @base_model_tp_plan.setter
    def base_model_tp_plan(self, plan: dict[str, str]) -> None:
        """transformers up to 5.20 assigns the plan again, with tied embeddings; ours has them."""

    @property
    def base_model_fsdp_plan(self) -> dict[str, str]:
        """The units in which FSDP2 gathers the body."""
        return fully_sharded_plan(self)

    @property
    def position_limit(self) -> int | None:
        """The most tokens that fit: `max_position_embeddings` where positions are learned; None: any number."""
        return self.max_position_embeddings if self.positions == "learned" else None

    @property
    def embedding_factor(self) -> float:
        """The number that token embeddings are multiplied with; √d_model in section 3.4."""
        return math.sqrt(self.hidden_size) if self.embedding_scale is None else self.embedding_scale

    def attention_kind(self, layer_idx: int) -> str:
        """transformers' word for what a layer's self-attention sees."""
        pattern = self.attention_pattern or ["full"]
        return "full_attention" if pattern[layer_idx % len(pattern)] == "full" else "sliding_attention"

    @property
    def sliding_window(self) -> int | None:
        """The width of the band in banded layers: a position sees itself and so many less one before it."""
        return next((width for width in self.attention_pattern or [] if width != "full"), None)

    @sliding_window.setter
    def sliding_window(self, width: int | None) -> None:
        """Every band gets this width, or none with None; full layers stay full, as with transformers' layer types."""
        if self.attention_pattern is not None:
            band = "full" if width is None else width
            self.attention_pattern = [kind if kind == "full" else band for kind in self.attention_pattern]

    @property
    def layer_types(self) -> list[str] | None:
        """What transformers sizes caches by, and vLLM its layers: banded layers keep no more than the band."""
        return [self.attention_kind(i) for i in range(self.num_hidden_layers)]

    @property
    def outgrows_float16(self) -> bool:
        """Whether a stack is built like T5's: relative positions, and RMSNorm before each sublayer.

        Such models are trained in bfloat16, and their activations exceed what float16 holds (65504). So transformers
        loads T5 in float16 with the last matrix of each feed-forward network in float32, and cuts sums that overflow;
        our models do the same.
        """
        return (self.positions, self.norm, self.residual) == ("relative", "rms", "pre")

    @property
    def classifier_dropout_rate(self) -> float:
        """Dropout before a classifier."""
        return self.dropout if self.classifier_dropout is None else self.classifier_dropout

    @property
    def attention_factor(self) -> float:
        """The number that q·k is multiplied with; 1/√d_k in equation (1)."""
        return self.head_dim**-0.5 if self.attention_scale is None else self.attention_scale
