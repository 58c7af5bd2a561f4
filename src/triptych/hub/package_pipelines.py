"""The pipelines for `transformers.pipeline(..., trust_remote_code=True)` where this package is imported.

transformers copies the file that `custom_pipelines` in a configuration names, and takes a class out of it. So that it
never takes the copy of the code in a checkpoint where the package is there, the package names this file.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

PACKAGE = "triptych"


def pipelines_module() -> str | None:
    """This file, as transformers names a module in a directory: `directory--module`.

    None: the name of the directory cannot be written so, and the pipelines are not offered.
    """
    file = Path(__file__)
    return None if "--" in str(file) else f"{file.parent}--{file.stem}"


def __getattr__(name: str) -> Any:
    return getattr(import_module(f"{PACKAGE}.pipelines.tasks"), name)
