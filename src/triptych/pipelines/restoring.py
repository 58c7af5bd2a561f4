"""Giving `transformers.pipeline` the tasks that version 5 removed from it. Only a call does so, no import."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..configuration import TriptychBaseConfig


@dataclass
class Before:
    """What transformers and the configurations said before `restore()`.

    Attributes:
        removed: task → what transformers says of it, because it has removed it.
        supported: task → its row in the registry of transformers.
        pipelines_module: that of the configurations.
    """

    removed: dict[str, str]
    supported: dict[str, dict[str, Any]]
    pipelines_module: str | None


before: Before | None = None  # None: nothing is restored


def restore() -> None:
    """Makes `transformers.pipeline` do the tasks that version 5 removed, in this process, for every model.

    `translation`, `translation_xx_to_yy`, `summarization`, `text2text-generation` and `question-answering` work as in
    version 4, with the pipelines of this package; without a model, the default models of version 4 are loaded. The
    other tasks of this package (`tasks.TASKS`) work there, too. The tasks that transformers has itself stay as they
    are. A second call changes nothing.

    This changes two tables of `transformers.pipelines` (`REMOVED_TASKS`, where transformers has it, and the tasks of
    `PIPELINE_REGISTRY`) and the method `check_task` of the registry, which has to know `translation_xx_to_yy`.
    """
    global before
    if before is not None:
        return
    from .tasks import TASKS, find_task  # late, because it imports transformers' pipelines

    pipelines: Any = import_module("transformers.pipelines")
    registry, removed = pipelines.PIPELINE_REGISTRY, getattr(pipelines, "REMOVED_TASKS", {})
    before = Before(
        {task: removed.pop(task) for task in TASKS if task in removed},
        {task: registry.supported_tasks[task] for task in TASKS if task in registry.supported_tasks},
        TriptychBaseConfig.pipelines_module,
    )
    for task, row in TASKS.items():
        registry.supported_tasks[task] = {
            "impl": row.pipeline_class,
            "pt": (row.auto_class,),
            "type": "text",
            "default": row.default_models,
        }

    def check_task(task: str) -> tuple[str, dict[str, Any], Any]:
        """Extends the method of the registry by `translation_xx_to_yy`."""
        languages = None
        if find_task(task) is not None and task not in TASKS:
            source, _, target = task.removeprefix("translation_").partition("_to_")
            task, languages = "translation", (source, target)
        name, row, options = type(registry).check_task(registry, task)
        return name, row, languages or options

    registry.check_task = check_task
    # The tasks of the registry need no trust_remote_code=True, which a model's own tasks would need.
    TriptychBaseConfig.pipelines_module = None


def withdraw() -> None:
    """Takes back what `restore()` changed; without it, nothing happens."""
    global before
    if before is None:
        return
    pipelines: Any = import_module("transformers.pipelines")
    from .tasks import TASKS

    for task in TASKS:
        pipelines.PIPELINE_REGISTRY.supported_tasks.pop(task)
    pipelines.PIPELINE_REGISTRY.supported_tasks.update(before.supported)
    del pipelines.PIPELINE_REGISTRY.check_task
    getattr(pipelines, "REMOVED_TASKS", {}).update(before.removed)
    TriptychBaseConfig.pipelines_module = before.pipelines_module
    before = None
