"""A published training recipe as options of a script: it gives the options that the command line does not give."""

import argparse
import logging
from collections.abc import Iterator
from typing import Any

from ..configuration import preset_recipe
from .optimizer import OPTIMIZERS
from .schedule import SCHEDULES

logger = logging.getLogger(__name__)

# The values of a recipe that a script can follow, and the options for them.
OPTIONS: dict[str, tuple[str, ...]] = {
    "optimizer.name": ("optimizer",),
    "optimizer.betas": ("adam_beta1", "adam_beta2"),
    "optimizer.eps": ("adam_epsilon",),
    "optimizer.weight_decay": ("weight_decay",),
    "optimizer.clip": ("max_grad_norm",),
    "schedule.name": ("lr_scheduler",),
    "schedule.learning_rate": ("learning_rate",),
    "schedule.scale": ("learning_rate_scale",),
    "schedule.warmup_steps": ("warmup_steps",),
    "batch.tokens": ("max_tokens",),
    "batch.length": ("block_size",),
    "steps": ("max_steps",),
    "epochs": ("num_train_epochs",),
    "dropout": ("dropout",),
    "label_smoothing": ("label_smoothing",),
    "checkpoints.averaged": ("keep_checkpoints",),
    "checkpoints.minutes": ("save_minutes",),
    "decoding.num_beams": ("num_beams",),
    "decoding.length_penalty": ("gnmt_length_penalty",),
    "decoding.length_beyond_source": ("max_length_beyond_source",),
}
TOLD = {"data", "source", "note"}  # only for the reader
# An objective as recipes name it → the objective of the task that learns it, and the options by which it does.
OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "masked-language-modelling": ("masked-language-modelling", {"packed": True}),
    "masked-language-modelling + next-sentence-prediction": ("masked-language-modelling", {"next_sentence": True}),
}


def statements(recipe: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Gives every published value of a recipe, under its dotted name."""
    for key, value in recipe.items():
        if isinstance(value, dict):
            yield from statements(value, f"{prefix}{key}.")
        elif value is not None and key not in TOLD:
            yield f"{prefix}{key}", value


def in_tokens(batch: dict[str, Any]) -> dict[str, Any]:
    """Returns the batch of a recipe with its size in tokens, where that is published as sequences of one length."""
    sequences, length = batch.get("sequences"), batch.get("length")
    if not (isinstance(sequences, int) and isinstance(length, int)):
        return batch
    others = {name: value for name, value in batch.items() if name != "sequences"}
    return others | {"tokens": sequences * length}


def recipe_options(preset: str, objective: str) -> dict[str, Any]:
    """Returns the recipe of a preset as options of a script that trains for `objective`.

    Raises:
        ValueError: there is no such preset, or it has no recipe, or the recipe says what the script cannot do; the
            message names all of it.
    """
    words = {"objective": (objective,), "optimizer.name": OPTIMIZERS, "schedule.name": SCHEDULES}
    options: dict[str, Any] = {}
    impossible = []
    recipe = preset_recipe(preset)
    named, by = OBJECTIVES.get(recipe["objective"], (recipe["objective"], {}))
    if named == objective:
        recipe["objective"], options = objective, dict(by)
    for name, value in statements(recipe | {"batch": in_tokens(recipe["batch"])}):
        values = value if isinstance(value, list) else [value]
        is_number = all(isinstance(v, (int, float)) for v in values)
        if value in words[name] if name in words else is_number and name in OPTIONS:
            options |= dict(zip(OPTIONS.get(name, ()), values, strict=False))  # the objective is the script itself
        else:
            impossible.append(f"{name}={value!r}")
    if impossible:
        raise ValueError(
            f"the recipe of {preset} needs features that this training lacks: {', '.join(impossible)}; it has "
            f"the objective {objective}, the optimizers {', '.join(OPTIMIZERS)} and the schedules "
            f"{', '.join(SCHEDULES)}"
        )
    if "keep_checkpoints" in options:
        options["final_weights"] = "average"
    return options


def add_recipe_option(
    parser: argparse.ArgumentParser, objective: str, default_preset: str, args: list[str] | None = None
) -> dict[str, Any]:
    """
    Adds the option `--recipe`. Where the command line has it, the values of the recipe become the defaults of the
    other options. Therefore this is called after all others are added. Where no model is named, it is that of the
    recipe.

    Returns:
        The defaults that the recipe gives.

    Raises:
        ValueError: see `recipe_options`.
    """
    parser.add_argument(
        "--recipe",
        nargs="?",
        const="",
        default=argparse.SUPPRESS,
        metavar="PRESET",
        help="Train as published for this preset (without a name: for the one of --preset): its optimizer, schedule, "
        "batch, steps, dropout, averaging and decoding stand in for all options that are not given.",
    )
    given, _ = parser.parse_known_args(args)
    if "recipe" not in given:
        return {}
    name = given.recipe or given.preset or default_preset
    options = recipe_options(name, objective)
    if given.save_steps is not None:  # two ways to say one thing
        options.pop("save_minutes", None)
    if given.model is None and given.preset is None:
        options["preset"] = name
    parser.set_defaults(**options)
    if note := preset_recipe(name).get("note"):
        logger.warning("a note on the recipe of %s, beside its options: %s", name, note)
    return options
