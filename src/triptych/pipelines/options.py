"""The options of generation: which of them a checkpoint may set, and which place overrules which."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import GenerationConfig, PreTrainedModel

logger = logging.getLogger(__name__)

# Different names for the same decision. A place that uses one of the names overrules all of them in the weaker places.
SYNONYMS = (
    frozenset({"max_length", "max_new_tokens", "max_length_beyond_source"}),
    frozenset({"min_length", "min_new_tokens"}),
    frozenset({"length_penalty", "gnmt_length_penalty"}),
)

_ALL_SYNONYMS = frozenset[str]().union(*SYNONYMS)

# The options that `task_specific_params` in a config.json may set: plain data that changes which tokens are chosen.
# Many other options of `generate()` would load a file or a model, or run code.
CHECKPOINT_OPTIONS = frozenset(
    {
        "bad_words_ids",
        "begin_suppress_tokens",
        "bos_token_id",
        "decoder_start_token_id",
        "do_sample",
        "early_stopping",
        "encoder_no_repeat_ngram_size",
        "encoder_repetition_penalty",
        "eos_token_id",
        "epsilon_cutoff",
        "eta_cutoff",
        "exponential_decay_length_penalty",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "gnmt_length_penalty",
        "guidance_scale",
        "length_penalty",
        "max_length",
        "max_length_beyond_source",
        "max_new_tokens",
        "max_time",
        "min_length",
        "min_new_tokens",
        "min_p",
        "no_repeat_ngram_size",
        "num_beams",
        "num_return_sequences",
        "pad_token_id",
        "prefix",
        "remove_invalid_values",
        "renormalize_logits",
        "repetition_penalty",
        "sequence_bias",
        "stop_strings",
        "suppress_tokens",
        "temperature",
        "top_h",
        "top_k",
        "top_p",
        "typical_p",
        "use_cache",
    }
)


def checkpoint_options(model: PreTrainedModel, task: str) -> dict[str, Any]:
    """The options that the model's config sets for a task: options of generation, and a `prefix` for the inputs (T5).

    They are in the fields `prefix` and `task_specific_params` of the config, and so in a file that anyone may have
    written. Only the names in `CHECKPOINT_OPTIONS` are used. One warning names all others.
    """
    of_tasks = getattr(model.config, "task_specific_params", None) or {}
    of_task = of_tasks.get(task) if isinstance(of_tasks, Mapping) else of_tasks
    if not isinstance(of_task or {}, Mapping):
        logger.warning("ignored config.task_specific_params: no options of generation, but %r", of_task)
        of_task = {}
    given = {"prefix": getattr(model.config, "prefix", None), **(of_task or {})}
    given = {name: value for name, value in given.items() if value is not None}
    ignored = {name: value for name, value in given.items() if name not in CHECKPOINT_OPTIONS}
    if not isinstance(given.get("prefix", ""), str):
        ignored["prefix"] = given["prefix"]
    if ignored:
        logger.warning(
            "ignored what the model's config says for the task %r: %s; a checkpoint may only set plain options of "
            "generation",
            task,
            ", ".join(f"{name}={value!r}" for name, value in ignored.items()),
        )
    return {name: value for name, value in given.items() if name not in ignored}


def options_of(generation_config: GenerationConfig, stronger: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The options that a `GenerationConfig` sets, also those of this package, overruled by `stronger` options."""
    names = {name for name in vars(GenerationConfig()) if not name.startswith("_")} - {"transformers_version"}
    values = {name: getattr(generation_config, name, None) for name in sorted(names | _ALL_SYNONYMS)}
    return merge({name: value for name, value in values.items() if value is not None}, named_options(stronger or {}))


def merge(*places: Mapping[str, Any]) -> dict[str, Any]:
    """The options of all `places`; each place overrules the places before it."""
    merged: dict[str, Any] = {}
    for place in places:
        overruled = frozenset[str]().union(*(names for names in SYNONYMS if names & place.keys()))
        merged = {name: value for name, value in merged.items() if name not in overruled} | {**place}
    return merged


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` without those that are None, which nobody gave."""
    return {name: value for name, value in options.items() if value is not None}


def named_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options`, with None for every other name of each decision that they make.

    With these None, a plain `{**weaker, **stronger}` overrules all names in the weaker place.
    """
    made = [names for names in SYNONYMS if any(options.get(name) is not None for name in names)]
    named = {name: value for name, value in options.items() if value is not None or name not in _ALL_SYNONYMS}
    return dict.fromkeys(sorted(frozenset[str]().union(*made))) | named


def generate_options(
    weakest: Sequence[Mapping[str, Any]], of_model: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of `generate()`, except for what the model's generation_config already says.

    Args:
        weakest: the places that are weaker than the model's generation_config, the weakest first.
        of_model: the options of the model's generation_config.
        given: the options of the user, from `named_options`.
    """
    merged = merge(*weakest, of_model, given)
    # A None cancels an option of the model. Where it cancels nothing it is left out, because a model of transformers
    # refuses the options of this package, even as None.
    return {
        name: value
        for name, value in merged.items()
        if (name in given if name in of_model else value is not None or name not in _ALL_SYNONYMS)
    }
