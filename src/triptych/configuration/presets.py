"""Published sizes and training recipes by name. They are read from `presets/*.json`, one file per system."""

import copy
import functools
import json
from importlib import resources
from typing import Any

from .fields import meant


@functools.cache
def _presets() -> dict[str, dict[str, Any]]:
    folder = resources.files(__package__) / "presets"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".json")), key=lambda f: f.name)
    return {name: entry for f in files for name, entry in json.loads(f.read_text(encoding="utf-8")).items()}


def preset_names(model_type: str | None = None) -> list[str]:
    """The names of all presets, or of those of one family (`triptych`, `triptych_encoder`, `triptych_decoder`)."""
    return [name for name, entry in _presets().items() if model_type in (None, entry["model_type"])]


def load_preset(name: str, model_type: str) -> dict[str, Any]:
    """The configuration fields of the preset `name`.

    Raises:
        ValueError: the preset is unknown, or belongs to another family.
    """
    entry = _entry(name, model_type)
    if entry["model_type"] != model_type:
        raise ValueError(
            f"preset {name!r} is a {entry['model_type']!r}, not a {model_type!r}; use the configuration class of that "
            f"family or choose one of: {', '.join(preset_names(model_type))}"
        )
    return dict(entry["config"])


def preset_info(name: str) -> dict[str, Any]:
    """What was published about the preset: parameters, scores, the source, and a note on contradictions.

    `counted` is the class, or a part of one, whose parameters are to be compared with the published figure.

    Raises:
        ValueError: the preset is unknown.
    """
    return dict(_entry(name)["published"])


def preset_recipe(name: str) -> dict[str, Any]:
    """How the preset was trained: optimizer, schedule, batch, objective, data, steps, dropout.

    A value of None means that it is unpublished.

    Raises:
        ValueError: the preset is unknown, or has no recipe.
    """
    entry = _entry(name)
    if "recipe" not in entry:
        known = (other for other, entry in _presets().items() if "recipe" in entry)
        raise ValueError(f"preset {name!r} has no recipe; choose one of: {', '.join(known)}")
    own = copy.deepcopy(entry["recipe"])
    common = preset_recipe(own.pop("like")) if "like" in own else {}
    for key, value in own.items():
        common[key] = {**common.get(key, {}), **value} if isinstance(value, dict) else value
    return common


def _entry(name: str, model_type: str | None = None) -> dict[str, Any]:
    if name not in _presets():
        names = preset_names(model_type)
        raise ValueError(f"unknown preset {name!r}{meant(name, names)}; choose one of: {', '.join(names)}")
    return _presets()[name]
