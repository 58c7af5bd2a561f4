"""Options that would change nothing beside another one. They are refused, because they promise what does not come."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

Options = Mapping[str, Any]

# Option → where it has no effect, and what to do about it. A condition may ask for options that a script lacks, and
# for `is_planned`: the schedule is not known yet, because a plan will choose it.
WITHOUT_EFFECT: dict[str, tuple[Callable[[Options], bool], str]] = {
    "learning_rate": (
        lambda options: options.get("lr_scheduler") == "noam" and not options["is_planned"],
        "with lr_scheduler=noam (equation 3), which has its own peak: give --learning_rate_scale, or another "
        "--lr_scheduler",
    ),
    "warmup_steps": (
        lambda options: options.get("warmup_ratio") is not None,
        "with --warmup_ratio: give one of them",
    ),
    **{
        name: (
            # (`model` of a command without presets is the model of a tokenizer.)
            lambda options: "preset" in options and bool(options.get("tokenizer") or options.get("model")),
            "with --tokenizer or --model, which name a finished tokenizer: leave it out",
        )
        for name in ("vocab_size", "tokenizer_model", "separate_vocabularies")
    },
    "greater_is_better": (
        lambda options: options.get("best_metric") is None,
        "without --best_metric",
    ),
}


def check_effects(given: Collection[str], options: Options) -> None:
    """
    Looks at the options that the command line gives.

    Args:
        given: their names.
        options: the values of all options.

    Raises:
        ValueError: one of them has no effect beside the others.
    """
    decides = {"preset", "recipe", "lr_scheduler"}  # where one of them is given, no plan chooses the schedule
    known = {**options, "is_planned": "preset" in options and decides.isdisjoint(given)}
    for name, (is_without, remedy) in WITHOUT_EFFECT.items():
        if name in given and is_without(known):
            raise ValueError(f"--{name} has no effect {remedy}")
