"""What travels with a checkpoint: the code of the model."""

from .travelling_code import code_files, write_code

__all__ = ["code_files", "write_code"]
