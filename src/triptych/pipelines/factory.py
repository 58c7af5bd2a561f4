"""One function, `pipeline`: it makes a callable from the name of a task and a model."""

import os
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import transformers
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..configuration import TriptychBaseConfig
from ..conversion.loading import class_named
from ..files import HUB_OPTIONS, check_model_files, check_tokenizer, is_directory
from .loading import Loader, safetensors_only
from .target_tokenizer import has_target_vocabulary

if TYPE_CHECKING:
    from transformers import Pipeline

    from .tasks import Task


def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | PreTrainedModel | None = None,
    tokenizer: str | os.PathLike[str] | PreTrainedTokenizerBase | None = None,
    target_tokenizer: str | os.PathLike[str] | PreTrainedTokenizerBase | None = None,
    *,
    trust_remote_code: bool = False,
    convert: bool = True,
    **kwargs: Any,
) -> "Pipeline":
    """Extends `transformers.pipeline`: brings back the tasks on texts that version 4 had.

    `translation`, `translation_xx_to_yy`, `summarization` and `text2text-generation` work with every
    encoder-decoder model of this package or of transformers, and `question-answering` with every model that has a head
    for it. `multiple-choice`, `next-sentence-prediction` and `sentence-similarity` have models in transformers, and
    pipelines here. Every other task goes to `transformers.pipeline` as it is.

    Args:
        task: the name of the task; None: the one that the model card names.
        model: a directory, a repository of the Hub, or a model.
        tokenizer: likewise; None: the tokenizer that lies beside the model.
        target_tokenizer: the tokenizer of the target side, only for a model with separate vocabularies; None: the one
            in the folder `target_tokenizer` beside the model or the tokenizer.
        trust_remote_code: whether code in the checkpoint may run. Without it no such code runs: unlike
            `transformers.pipeline`, this function does not ask on standard input.
        convert: whether a public checkpoint that is given by name becomes a model of this package where its
            architecture is known (`from_hf`), which computes the same. False: transformers' own class is used. A line
            of the log (`triptych`, level INFO) says what was done. It holds for the tasks above only.
        kwargs: everything that `transformers.pipeline` takes (`config`, `device`, `dtype`, `device_map`, `batch_size`,
            `revision`, `model_kwargs`, `pipeline_class`, ...), and the options of the pipeline and of
            `model.generate()`, which then hold for every call.

    Returns:
        A callable on a string, a list, a generator or a data set; see the classes in
        `triptych.pipelines.tasks.TASKS`.

    Raises:
        ValueError: the task is unknown; the model is missing or is not an encoder-decoder; the target tokenizer or
            the tokenizer is missing; the checkpoint needs code that it brings along.
    """
    model, tokenizer, target_tokenizer = (
        os.fspath(part) if isinstance(part, os.PathLike) else part for part in (model, tokenizer, target_tokenizer)
    )
    options = {**kwargs, "trust_remote_code": bool(trust_remote_code)}
    from .tasks import TASKS, find_task  # late, because it imports transformers' pipelines

    if task is None and isinstance(model, str):
        said = Loader.take_options(dict(options)).task_of(model)
        task = said if said in TASKS else None
    found = None if task is None else find_task(task)
    takes_target = found is not None and found.pipeline_class.takes_target_tokenizer
    if target_tokenizer is not None and not takes_target:
        these = [name for name, row in TASKS.items() if row.pipeline_class.takes_target_tokenizer]
        raise ValueError(f"task {task!r} has no target_tokenizer; these have: {', '.join(these)}")
    if task is None or found is None:
        return _transformers_pipeline(task, model, tokenizer, options)
    if model is None:
        raise ValueError(f"task {task!r} needs model=: a directory, a repository of the Hub, or a model")
    return _make(task, found, model, tokenizer, target_tokenizer, convert, options)


def _make(
    task: str, found: "Task", model: Any, tokenizer: Any, target_tokenizer: Any, convert: bool, options: Any
) -> "Pipeline":
    """Loads what is given by name, and makes the pipeline of one of this package's tasks."""
    loader = Loader.take_options(options)
    given = options.pop("config", None)
    if isinstance(model, PreTrainedModel):
        config, names = model.config, [type(model).__name__]
    else:
        config = given if isinstance(given, PreTrainedConfig) else loader.load_config(given or model)
        names = getattr(config, "architectures", None) or []
    found.pipeline_class.check_config(task, config, names)

    tokenizer = tokenizer or (model if isinstance(model, str) else model.name_or_path)
    if not tokenizer:
        raise ValueError(f"task {task!r} needs tokenizer=, because the model was not loaded from anywhere")
    parts: dict[str, Any] = {}
    if found.pipeline_class.takes_target_tokenizer:
        if target_tokenizer is None and has_target_vocabulary(config):
            target_tokenizer = loader.find_target_tokenizer(tokenizer, model)
        elif isinstance(target_tokenizer, str):
            target_tokenizer = loader.load_tokenizer(target_tokenizer)
        parts["target_tokenizer"] = target_tokenizer
    if isinstance(tokenizer, str):
        tokenizer = loader.load_tokenizer(tokenizer)
    if isinstance(model, str):
        is_public = given is None and not isinstance(config, TriptychBaseConfig)
        if found.pipeline_class.reads_files:
            parts["files"] = loader.files
        converts = convert and is_public and not found.pipeline_class.reads_files
        converted = loader.load_converted(found.auto_class, model, config) if converts else None
        model = converted or loader.load_model(found.auto_class, model, config, None if given is None else config)
    pipeline_class = options.pop("pipeline_class", None) or found.pipeline_class
    made: Pipeline = pipeline_class(model=model, tokenizer=tokenizer, task=task, **parts, **options)
    return made


def _transformers_pipeline(task: str | None, model: Any, tokenizer: Any, options: dict[str, Any]) -> "Pipeline":
    """The pipeline of transformers, which is kept from code of the checkpoint that it would run without being asked.

    This is an attention kernel that only a file names, and a pickle in place of weights in safetensors.

    Raises:
        ValueError: a file of the directory is damaged, or the weights are pickled.
    """
    where = {name: options[name] for name in HUB_OPTIONS if options.get(name)}
    for name in (tokenizer, model):
        if isinstance(name, str):
            check_tokenizer(name, **where)
    if isinstance(model, str):
        options["model_kwargs"] = safetensors_only(options.get("model_kwargs"))
        if is_directory(model):
            check_model_files(model)
        loader = Loader.take_options(dict(options))
        with suppress(OSError):  # transformers says what is missing
            config = loader.load_config(model)
            loader.check_sizes(class_named(transformers, (config.architectures or [None])[0]), model, config)
        if "_attn_implementation" in loader.model:
            kernel = {"_attn_implementation": loader.model["_attn_implementation"]}
            options["model_kwargs"] = {**options["model_kwargs"], **kernel}
    pipelines = import_module("transformers.pipelines")
    try:
        made: Pipeline = pipelines.pipeline(task, model=model, tokenizer=tokenizer, **options)
    except KeyError as error:
        known = pipelines.get_supported_tasks()
        if task is None or task in known or task in getattr(pipelines, "REMOVED_TASKS", ()):
            raise  # of a removed task transformers says what became of it
        from .tasks import TASKS

        everything = sorted({*TASKS, "translation_xx_to_yy", *known})
        raise ValueError(f"unknown task {task!r}; known are: {', '.join(everything)}") from error
    return made
