"""What travels with a checkpoint: the code of the models and of their pipelines."""

from .travelling_code import code_files, write_code

__all__ = ["code_files", "write_code"]
