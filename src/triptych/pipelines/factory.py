"""One function, `pipeline`: from a task's name and a model to a callable on text."""

import copy
import os
import re
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from ..configuration.foreign import forget_kernels, names_a_kernel
from ..files import naming_damage
from ..tokenization import TARGET_SUBFOLDER
from ..tokenization.files import target_side

if TYPE_CHECKING:
    from transformers import Pipeline

TEXT_TO_TEXT_TASKS = {
    "translation": "TranslationPipeline",
    "summarization": "SummarizationPipeline",
    "text2text-generation": "Text2TextGenerationPipeline",
}
"""The tasks added here: the name of the task and of its class in `triptych.pipelines.text_to_text`."""

_LANGUAGE_PAIR = re.compile(r"translation_\w+_to_\w+")
_HUB_OPTIONS = ("revision", "token", "trust_remote_code", "local_files_only")


def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | PreTrainedModel | None = None,
    tokenizer: str | os.PathLike[str] | PreTrainedTokenizerBase | None = None,
    target_tokenizer: str | os.PathLike[str] | PreTrainedTokenizerBase | None = None,
    *,
    trust_remote_code: bool = False,
    **kwargs: Any,
) -> "Pipeline":
    """`transformers.pipeline`, with the text-to-text tasks of version 4 as well.

    `translation`, `translation_xx_to_yy`, `summarization` and `text2text-generation` work with every
    encoder-decoder model, ours or transformers' own; each other task is handed to `transformers.pipeline` as it is.

    Args:
        task: name of the task; None: transformers finds it from the model.
        model: a directory, a repository of the Hub, or a model.
        tokenizer: likewise; None: the one that lies beside the model.
        target_tokenizer: of the target side, for a model with separate vocabularies only; None: the one in
            the folder `target_tokenizer` beside the model or the tokenizer.
        trust_remote_code: whether code that lies in the checkpoint may run. It never does otherwise: unlike
            `transformers.pipeline`, this function does not ask on standard input.
        kwargs: everything that `transformers.pipeline` takes (`device`, `dtype`, `batch_size`, `revision`,
            `model_kwargs`, ...), and the options of the pipeline and of `model.generate()`, which then hold for
            every call.

    Returns:
        A callable on a string, a list, a generator or a data set; see `text_to_text.TextToTextPipeline`.

    Raises:
        ValueError: an unknown task, no model, a model that is not an encoder-decoder, a missing target tokenizer, a
            checkpoint that needs code of its own.
    """
    kwargs["trust_remote_code"] = bool(trust_remote_code)
    model, tokenizer, target_tokenizer = (
        os.fspath(part) if isinstance(part, os.PathLike) else part for part in (model, tokenizer, target_tokenizer)
    )
    class_name = None if task is None else _class_name(task)
    _heed_no_kernel(model, kwargs)
    if class_name is None:
        if target_tokenizer is not None:
            raise ValueError(f"task {task!r} has no target_tokenizer; these have: {', '.join(TEXT_TO_TEXT_TASKS)}")
        return _transformers_pipeline(task, model, tokenizer, **kwargs)
    if model is None:
        raise ValueError(f"task {task!r} needs model=: a directory, a repository of the Hub, or a model")

    hub = _hub_options(kwargs)
    config = _config_of(model, kwargs.pop("config", None), hub, kwargs.get("model_kwargs") or {})
    if not config.is_encoder_decoder:
        raise ValueError(
            f"task {task!r} needs an encoder-decoder model, but model_type {config.model_type!r} is not one; "
            "use 'text-generation' for a decoder"
        )
    if tokenizer is None and isinstance(model, PreTrainedModel):
        tokenizer = model.name_or_path or None
    if target_tokenizer is None and _has_target_vocabulary(config):
        target_tokenizer = _find_target_tokenizer(tokenizer, model, hub=hub)
    if isinstance(target_tokenizer, str):
        target_tokenizer = AutoTokenizer.from_pretrained(target_tokenizer, **hub)

    # Imported late, as it costs what transformers.pipelines costs.
    pipeline_class = kwargs.pop("pipeline_class", None) or getattr(
        import_module(".text_to_text", __package__), class_name
    )
    # transformers looks a task up in the config before it refuses the removed ones. It writes classes into that
    # entry, which could not be saved any more: hence a copy, never the model's own config.
    config = copy.deepcopy(config)
    config.custom_pipelines = {task: {"impl": pipeline_class.__name__, "pt": ["AutoModelForSeq2SeqLM"]}}
    return _transformers_pipeline(
        task,
        model,
        tokenizer,
        config=config,
        pipeline_class=pipeline_class,
        target_tokenizer=target_tokenizer,
        **kwargs,
    )


def _class_name(task: str) -> str | None:
    """The name of the class behind one of our tasks; None for a task of transformers."""
    if task.startswith("translation_"):
        if not _LANGUAGE_PAIR.fullmatch(task):
            raise ValueError(f"task {task!r}: languages are named as in 'translation_en_to_de'")
        task = "translation"
    return TEXT_TO_TEXT_TASKS.get(task)


def _transformers_pipeline(task: str | None, model: Any, tokenizer: Any, **kwargs: Any) -> "Pipeline":
    pipelines = import_module("transformers.pipelines")
    try:
        return pipelines.pipeline(task, model=model, tokenizer=tokenizer, **kwargs)
    except KeyError as error:
        if not str(error.args[0]).startswith(f"Unknown task {task}"):
            raise
        known = sorted([*TEXT_TO_TEXT_TASKS, "translation_xx_to_yy", *pipelines.get_supported_tasks()])
        raise ValueError(f"unknown task {task!r}; known are: {', '.join(known)}") from None


def _config_of(model: Any, config: Any, hub: dict[str, Any], model_kwargs: dict[str, Any]) -> PreTrainedConfig:
    if isinstance(model, PreTrainedModel):
        return model.config
    if isinstance(config, PreTrainedConfig):
        return config
    where = config if isinstance(config, str) else model
    with naming_damage(where):
        found: PreTrainedConfig = AutoConfig.from_pretrained(where, **hub, **_cache(model_kwargs))
    return found


def _hub_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in _HUB_OPTIONS if options.get(name) is not None}


def _cache(model_kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: model_kwargs[name] for name in ("cache_dir",) if name in model_kwargs}


def _heed_no_kernel(model: Any, options: dict[str, Any]) -> None:
    """Where the files of a model name an attention kernel of the Hub, overrides that name.

    transformers reads the configuration again when it loads the model, so it must be told by an option. Only
    `_attn_implementation` is heeded in place of both names that a file can use; None stands for the default.
    """
    given = options.get("model_kwargs") or {}
    if not isinstance(model, str):
        return
    with suppress(Exception):  # what cannot be read is refused later
        config = AutoConfig.from_pretrained(model, **_hub_options(options), **_cache(given))
        if names_a_kernel(config):
            forget_kernels(config)
            options["model_kwargs"] = {"_attn_implementation": given.get("attn_implementation"), **given}


def _has_target_vocabulary(config: PreTrainedConfig) -> bool:
    """Whether the target side counts its tokens by itself. (transformers' Marian fills `decoder_vocab_size` in.)"""
    size = getattr(config, "decoder_vocab_size", None)
    return size is not None and (size != config.vocab_size or config.model_type == "triptych")


def _find_target_tokenizer(*places: Any, hub: dict[str, Any]) -> PreTrainedTokenizerBase | None:
    """The target tokenizer that lies beside one of `places` (directories, repositories, tokenizers, models)."""
    for place in places:
        if isinstance(place, PreTrainedTokenizerBase) and target_side(place) is not None:
            return None  # Marian's and FSMT's tokenizers can hold both sides
        name = place if isinstance(place, str) else getattr(place, "name_or_path", None)
        if name and _has_file(name, f"{TARGET_SUBFOLDER}/tokenizer_config.json", hub):
            return AutoTokenizer.from_pretrained(name, subfolder=TARGET_SUBFOLDER, **hub)
        if name and _has_file(name, "tokenizer_config.json", hub):
            held = target_side(AutoTokenizer.from_pretrained(name, **hub))
            if held is not None:
                return held
    raise ValueError(
        "the model has a target vocabulary of its own (config.decoder_vocab_size), but no target tokenizer was given "
        f"and no folder {TARGET_SUBFOLDER!r} lies beside the model or the tokenizer; pass target_tokenizer="
    )


def _has_file(name: str, file: str, hub: dict[str, Any]) -> bool:
    """Whether a directory or a repository has the file; no, if it cannot be found or reached."""
    where = {option: value for option, value in hub.items() if option != "trust_remote_code"}
    try:
        return cached_file(name, file, **where) is not None
    except OSError:
        return False
