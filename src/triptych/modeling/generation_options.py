"""The generation configuration of a Triptych model: defaults that a program fills in never become settings."""

import copy
from typing import Any

from transformers import GenerationConfig

# The options of the paper's beam search (section 6.1), which no configuration of transformers has.
PAPER_OPTIONS = ("gnmt_length_penalty", "max_length_beyond_source")


class TriptychGenerationConfig(GenerationConfig):
    """Extends transformers' class: defaults that are filled in remain defaults.

    After the first batch that it predicts, `Seq2SeqTrainer` writes all of transformers' defaults into the model's
    generation configuration, because it needs a length to pad to. `max_length=20` is one of them. Here these values
    can be read until the next `generate`, but they are not copied or saved. So they never replace an option that
    somebody has set. A value that is assigned by name is a setting.
    """

    @classmethod
    def copied_from(cls, config: GenerationConfig) -> "TriptychGenerationConfig":
        """A copy of any generation configuration. Later changes of `config` do not reach the copy."""
        own = cls()
        own.__dict__.clear()
        own.__dict__.update(copy.deepcopy(config.__dict__))
        return own

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__.get("_filled", {}).pop(name, None)
        super().__setattr__(name, value)

    def update(self, defaults_only: bool = False, allow_custom_entries: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Extends transformers' method: remembers which options were filled in with their default."""
        defaults = self._get_default_generation_params()
        unset = [name for name in defaults if getattr(self, name, None) is None] if defaults_only else []
        unused: dict[str, Any] = super().update(defaults_only, allow_custom_entries, **kwargs)
        own = self.__dict__
        filled = {name: own[name] for name in unset if own.get(name) is not None and own[name] == defaults[name]}
        if filled and kwargs == defaults:  # other values are the settings of another configuration
            own["_filled"] = {**own.get("_filled", {}), **filled}
        return unused

    def forget_defaults(self) -> None:
        """Sets the options that were filled in with their default back to None."""
        self.__dict__.update(dict.fromkeys(self.__dict__.pop("_filled", {})))

    def stated(self, name: str) -> Any:
        """The value that an option was set to; None if it is not set or only its default was filled in."""
        return None if name in self.__dict__.get("_filled", {}) else getattr(self, name, None)

    def to_dict(self) -> dict[str, Any]:
        """Extends transformers' method: leaves out the defaults that were filled in."""
        fields: dict[str, Any] = super().to_dict()
        filled = fields.pop("_filled", {})
        return {**fields, **dict.fromkeys(filled)}


def take_generation_config(model: Any, given: GenerationConfig | None) -> None:
    """Gives `model` a copy of the generation options of another model. A model that cannot generate is left alone.

    A model of transformers does not know the options of the paper, so it does not get them.
    """
    if given is None or not model.can_generate():
        return
    taken = copy.deepcopy(given)
    taken._from_model_config = False
    if not isinstance(model.generation_config, TriptychGenerationConfig):
        for name in PAPER_OPTIONS:
            taken.__dict__.pop(name, None)
    model.generation_config = taken
