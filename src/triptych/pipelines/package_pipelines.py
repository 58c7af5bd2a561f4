"""The pipelines for `transformers.pipeline(..., trust_remote_code=True)` where this package is imported.

transformers copies the file that `custom_pipelines` in a configuration names, and takes a class out of the copy. So
that it never takes the code in a checkpoint where the package is there, `triptych.auto` makes the configurations name
this file.
"""

from importlib import import_module
from typing import Any

TASKS_MODULE = "triptych.pipelines.tasks"  # not relative, because transformers runs a copy of this file


def __getattr__(name: str) -> Any:
    return getattr(import_module(TASKS_MODULE), name)
