"""A generation configuration that stays what its owner made it."""

from typing import Any

from transformers import GenerationConfig


class TriptychGenerationConfig(GenerationConfig):
    """transformers' `GenerationConfig`, in which filled-in defaults remain defaults.

    `Seq2SeqTrainer` writes all of transformers' defaults into a model's generation configuration after the first
    batch that it predicts, `max_length=20` among them, to learn how far to pad. Here they can be read until the next
    `generate`, and they are not copied or saved; so they outrank nothing. What is assigned by name is a setting.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__.get("_filled", {}).pop(name, None)
        super().__setattr__(name, value)

    def update(self, defaults_only: bool = False, allow_custom_entries: bool = False, **kwargs: Any) -> dict[str, Any]:
        """As transformers; remembers which of its defaults were filled in."""
        defaults = self._get_default_generation_params()
        unset = [name for name in defaults if getattr(self, name, None) is None] if defaults_only else []
        unused: dict[str, Any] = super().update(defaults_only, allow_custom_entries, **kwargs)
        own = self.__dict__
        filled = {name: own[name] for name in unset if own.get(name) is not None and own[name] == defaults[name]}
        if filled and kwargs == defaults:  # not the settings of another configuration
            own["_filled"] = {**own.get("_filled", {}), **filled}
        return unused

    def forget_defaults(self) -> None:
        """Unsets what was filled in."""
        self.__dict__.update(dict.fromkeys(self.__dict__.pop("_filled", {})))

    def stated(self, name: str) -> Any:
        """The value of an option, or None where only its default was filled in."""
        return None if name in self.__dict__.get("_filled", {}) else getattr(self, name, None)

    def to_dict(self) -> dict[str, Any]:
        """As transformers, without what was filled in."""
        fields: dict[str, Any] = super().to_dict()
        filled = fields.pop("_filled", {})
        return {**fields, **dict.fromkeys(filled)}


def adopt(config: GenerationConfig) -> GenerationConfig:
    """The same object with the behaviour of `TriptychGenerationConfig`; one of a class of its own stays as it is."""
    if type(config) is GenerationConfig:
        config.__class__ = TriptychGenerationConfig
    return config
