"""What the configurations of the three families have in common."""

import copy
import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from huggingface_hub.dataclasses import strict

from .common_fields import CommonFields
from .fields import closest, whole_number
from .foreign import from_file
from .names import ELSEWHERE, PASSES
from .plans import fully_sharded_plan, tensor_parallel_plan
from .relations import check_heads, check_matrices, check_positions, check_token_ids, drop_foreign_tokens
from .travel import (
    PIPELINES_MODULE,
    code_map,
    copy_code,
    is_code_wanted,
    others,
    pipeline_map,
    pipelines_of_others,
    saving_code,
)

INHERITED = frozenset({"attn_implementation", "num_labels", "output_attentions"})  # transformers' options, not fields
MOST_LABELS = 1_000_000  # transformers makes a name for each label, which takes time and memory
FROM_FILE = "_read_from_file"  # marks fields that come from a file, which another program may have written

Config = TypeVar("Config", bound=type)


def strict_with_aliases(config_class: Config) -> Config:
    """Extends huggingface_hub's `strict`: a value is also checked when it is set under another name of its field."""
    checked: Any = strict(config_class)
    checks = checked.__validators__
    checks |= {alias: checks[name] for alias, name in checked.attribute_map.items()}
    checks["num_labels"] = [whole_number(at_least=0, at_most=MOST_LABELS)]
    return config_class


class TriptychBaseConfig(CommonFields):
    """What the encoder–decoder, the encoder and the decoder have in common.

    A value is checked when it is set. Relations between values are checked when the configuration is made, saved or
    handed to a model. The error names the field, the value and the remedy.
    """

    # Whether saving also writes the code of the models, where the call does not say it.
    saves_code: ClassVar[bool] = True
    write_code: ClassVar[Callable[[Path], None]] = staticmethod(copy_code)  # the package puts `triptych.hub`'s here
    # Whether a file's `auto_map` is read. Where the package has registered its classes, nothing needs it.
    reads_auto_map: ClassVar[bool] = True
    auto_classes: ClassVar[dict[str, str]] = {}  # name of an Auto class → name of the model; see `register_models`
    # Where transformers finds the classes of `custom_pipelines`; None: nowhere. The package puts its own place here.
    pipelines_module: ClassVar[str | None] = PIPELINES_MODULE

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> "TriptychBaseConfig":
        """The published configuration `name` (see `triptych.preset_names()`), with any field replaced.

        Raises:
            ValueError: the preset or a field is unknown, or the preset belongs to another family.
        """
        from .presets import load_preset  # here, because the presets do not travel with checkpoints

        for unknown in sorted(overrides.keys() - cls.known_names()):
            raise ValueError(cls._no_such_field(unknown))
        return cls(**{**load_preset(name, cls.model_type), **overrides})

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Extends transformers' method: a dictionary from a file may hold any field, options given in code may not.

        An attention kernel from the Hub can be chosen in code only. If the dictionary names one, it is ignored, with a
        warning.

        Raises:
            ValueError: an option looks like a misspelt field, or has the name that another model's configuration gives
                to a field; or a value that transformers reads from the dictionary (`dtype`, `id2label`, ...) is of a
                wrong kind.
        """
        if not kwargs.get("return_unused_kwargs"):  # otherwise the caller gets unknown names back
            cls.check_names(kwargs)
        fields = from_file(cls, config_dict)
        if not cls.reads_auto_map and "auto_map" in fields:
            foreign = others(fields.pop("auto_map"))
            fields |= {"auto_map": foreign} if foreign else {}
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

    def save_pretrained(
        self, save_directory: Any, push_to_hub: bool = False, *, code: bool | None = None, **kwargs: Any
    ) -> None:
        """Extends transformers' method: also writes the code of the models, unless it is told not to.

        With the code, a machine that has transformers and not this package can load the model, with
        `trust_remote_code=True`. Where this package is imported, its own classes are used and the code is not run.

        Args:
            code: whether to write the code; None: what `saves_code` of the class says.
        """
        with saving_code(code):
            travels = is_code_wanted(self.saves_code) and "auto_classes" in vars(type(self))
            own = code_map(type(self).__name__, self.auto_classes) if travels else {}
            auto_map = {**own, **others(self.__dict__.get("auto_map"))}
            saved = copy.copy(self)  # several threads may save one configuration
            own_tasks = pipeline_map(PIPELINES_MODULE if travels else None, self.architectures, self.auto_classes)
            pipelines = {**own_tasks, **pipelines_of_others(self.__dict__.get("custom_pipelines"))}
            for name, value in (("auto_map", auto_map), ("custom_pipelines", pipelines)):
                saved.__dict__.pop(name, None)
                if value:
                    saved.__dict__[name] = value
            super(TriptychBaseConfig, saved).save_pretrained(save_directory)
            if travels:
                type(self).write_code(Path(save_directory))
            if push_to_hub:
                name = os.path.basename(os.path.normpath(save_directory))
                self.push_to_hub(kwargs.pop("repo_id", name), **kwargs)

    def push_to_hub(self, repo_id: str, *, code: bool | None = None, **kwargs: Any) -> str:
        """Extends transformers' method: also uploads the code of the models, unless it is told not to.

        Args:
            code: as in `save_pretrained`.
        """
        with saving_code(code):
            return super().push_to_hub(repo_id, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoConfig") -> None:
        """Extends transformers' method: does nothing for the classes of this package, whose code always travels.

        transformers calls it for code that it loads from a checkpoint, and would then save a file for each Auto class.
        """
        if "auto_classes" not in vars(cls):
            super().register_for_auto_class(auto_class)

    @classmethod
    def known_names(cls) -> set[str]:
        """The names of all fields, their aliases, and the options of transformers that are not fields."""
        return {f.name for f in dataclasses.fields(cls)} | set(cls.attribute_map) | INHERITED

    @classmethod
    def _no_such_field(cls, name: str) -> str:
        meant = cls._meant(name)
        return f"{cls.__name__} has no field {name!r}" + (f"; did you mean {meant!r}?" if meant else "")

    @classmethod
    def _meant(cls, name: str) -> str | None:
        """The field that somebody probably meant by a wrong name."""
        known = cls.known_names()
        elsewhere = (field for field in ELSEWHERE.get(name, ()) if field in known)
        return next(elsewhere, None) or closest(name, known)

    @classmethod
    def check_names(cls, fields: dict[str, Any]) -> None:
        """Raises ValueError for a name that looks like a misspelt field, or like a field of another configuration."""
        for name in sorted(fields.keys() - cls.known_names() - PASSES):
            passes = name.startswith("_") or (hasattr(cls, name) and name not in ELSEWHERE)
            if not passes and cls._meant(name):
                raise ValueError(cls._no_such_field(name))

    def update(self, config_dict: dict[str, Any]) -> None:
        """Extends transformers' method: refuses names that are probably mistakes.

        Raises:
            ValueError: a name looks like a misspelt field, or is the name that another model's configuration gives to
                a field. In this case nothing is changed.
        """
        self.check_names(config_dict)
        super().update(config_dict)

    def __post_init__(self, **kwargs: Any) -> None:
        if not kwargs.pop(FROM_FILE, False):
            self.check_names(kwargs)
        for alias in self.attribute_map.keys() & kwargs.keys():  # before other fields are derived from them
            setattr(self, alias, kwargs.pop(alias))
        self.derive_heads()
        self.derive_rotation()
        drop_foreign_tokens(self, self.special_token_vocabularies())
        super().__post_init__(**kwargs)
        made: Any = self
        if made.output_attentions:
            made.output_attentions = True  # the assignment makes transformers choose a kernel that returns them
        self.derive_rotation()  # again, because transformers fills in a rotation wherever the field exists

    def derive_heads(self) -> None:
        """Derives the number and the widths of heads where they are not given; section 3.2.2: d_k = d_v = d_model / h.

        Raises:
            ValueError: d_model cannot be divided evenly between the heads.
        """
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

    def derive_rotation(self) -> None:
        """Fills in parameters of rotary positions that are not given (Su et al. 2021, section 3.2.2: base 10000)."""
        if self.positions != "rotary":
            self.rope_parameters = None
        else:
            self.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0, **(self.rope_parameters or {})}
            if self.rotary_dim is not None:
                part = self.rotary_dim / self.head_dim
                is_exact = int(self.head_dim * part) == self.rotary_dim  # transformers computes this and rounds down
                self.rope_parameters["partial_rotary_factor"] = part if is_exact else math.nextafter(part, 1)
            self.standardize_rope_params()

    def validate_architecture(self) -> None:
        """Checks that the fields together make a model.

        transformers runs this check when the configuration is made and when it is saved. Every model runs it when the
        model is made.

        Raises:
            ValueError: two fields contradict each other; the message names both and a remedy.
        """
        check_matrices(self)
        check_heads(self)
        check_positions(self)

    def validate_token_ids(self) -> None:
        """Raises ValueError where a special token lies outside the vocabulary that it belongs to."""
        check_token_ids(self, self.special_token_vocabularies())

    def special_token_vocabularies(self) -> dict[str, int]:
        """Maps the field of each special token to the size of the vocabulary that the token belongs to."""
        return dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), self.vocab_size)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "TriptychBaseConfig":
        """Extends transformers' method: returns this configuration, which never contains another one.

        A file that another program wrote may say otherwise.
        """
        return self

    @property
    def embedding_names(self) -> tuple[str, ...]:
        """The names of the embedding matrices in the body. The last one can be tied to the output projection."""
        return ("embed_tokens",)

    def stack_config(self, stack: str) -> "TriptychBaseConfig":
        """The configuration of one of the `stacks`: this one, or a copy where some fields of the stack differ."""
        return self

    @property
    def base_model_tp_plan(self) -> dict[str, str]:
        """How tensor parallelism divides the body between processes."""
        return tensor_parallel_plan(self)

    @base_model_tp_plan.setter
    def base_model_tp_plan(self, plan: dict[str, str]) -> None:
        """Ignores the value: transformers up to 5.20 adds tied embeddings to the plan, which contains them already."""

    @property
    def base_model_fsdp_plan(self) -> dict[str, str]:
        """The units in which FSDP2 gathers the body."""
        return fully_sharded_plan(self)

    @property
    def custom_pipelines(self) -> dict[str, Any]:
        """The tasks of this model that `transformers.pipeline` does not have itself: task → where its class is.

        They follow from the class of the model. transformers changes what it gets, so it gets a copy.
        """
        own = pipeline_map(self.pipelines_module, self.architectures, self.auto_classes)
        return {**own, **pipelines_of_others(self.__dict__.get("custom_pipelines"))}

    @custom_pipelines.setter
    def custom_pipelines(self, pipelines: dict[str, Any] | None) -> None:
        """Keeps the tasks of other authors."""
        foreign = pipelines_of_others(pipelines)
        self.__dict__.pop("custom_pipelines", None)
        if foreign:
            self.__dict__["custom_pipelines"] = foreign

    @property
    def position_limit(self) -> int | None:
        """The greatest number of tokens: `max_position_embeddings` where positions are learned; None: no limit."""
        return self.max_position_embeddings if self.positions == "learned" else None

    @property
    def embedding_factor(self) -> float:
        """The factor by which token embeddings are multiplied; √d_model in section 3.4."""
        return math.sqrt(self.hidden_size) if self.embedding_scale is None else self.embedding_scale

    def attention_kind(self, layer_idx: int) -> str:
        """What the self-attention of a layer sees: `full_attention` or `sliding_attention`, transformers' words."""
        pattern = self.attention_pattern or ["full"]
        return "full_attention" if pattern[layer_idx % len(pattern)] == "full" else "sliding_attention"

    @property
    def sliding_window(self) -> int | None:
        """The width w of the band in banded layers. None: no layer has a band.

        In a decoder, a position sees itself and the w - 1 positions before it. In an encoder, it sees w positions on
        each side.
        """
        return next((width for width in self.attention_pattern or [] if width != "full"), None)

    @sliding_window.setter
    def sliding_window(self, width: int | None) -> None:
        """Gives every banded layer this width; None gives these layers full attention. Full layers stay full."""
        if self.attention_pattern is not None:
            band = "full" if width is None else width
            self.attention_pattern = [kind if kind == "full" else band for kind in self.attention_pattern]

    @property
    def layer_types(self) -> list[str] | None:
        """The kind of each layer, as `attention_kind` names it.

        transformers sizes its caches by these kinds: a banded layer keeps no more positions than its band. vLLM builds
        its layers by them.
        """
        return [self.attention_kind(i) for i in range(self.num_hidden_layers)]

    @property
    def outgrows_float16(self) -> bool:
        """Whether a stack is built like T5's: relative positions, and RMSNorm before each sublayer.

        Such models are trained in bfloat16, and their activations exceed what float16 holds (65504). So transformers
        loads T5 in float16 with the last matrix of each feed-forward network in float32, and clips sums that overflow.
        The models of this package do the same.
        """
        return (self.positions, self.norm, self.residual) == ("relative", "rms", "pre")

    @property
    def classifier_dropout_rate(self) -> float:
        """The dropout probability before a classifier."""
        return self.dropout if self.classifier_dropout is None else self.classifier_dropout

    @property
    def attention_factor(self) -> float:
        """The factor by which q·k is multiplied; 1/√d_k in equation (1)."""
        return self.head_dim**-0.5 if self.attention_scale is None else self.attention_scale
