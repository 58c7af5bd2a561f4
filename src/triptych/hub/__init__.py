"""What travels with a checkpoint: the code of the models and of their pipelines."""

from .package_pipelines import pipelines_module
from .travelling_code import code_files, write_code

__all__ = ["code_files", "pipelines_module", "write_code"]
