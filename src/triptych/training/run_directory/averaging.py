"""The mean of the weights of several checkpoints, read tensor by tensor (section 6.1 averages the last 5 or 20)."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import safe_open

from ...data.quantities import counted
from ...files import reading, weight_files


def average_checkpoints(directories: Iterable[str | Path]) -> dict[str, torch.Tensor]:
    """
    Returns the mean of the weights in several directories that `save_pretrained` wrote, in their data type.

    The sums are float64, so that the order of the directories does not matter and bfloat16 loses nothing. Only one
    tensor of each checkpoint is in memory at a time. Tied weights are stored once and therefore averaged once. Integer
    tensors (counters) are taken from the last directory.

    Raises:
        ValueError: there is no directory; or the checkpoints differ in the names, shapes or data types of their
            tensors; or a file is damaged.
        FileNotFoundError: a directory holds no weights, or lacks a file that its index names.
    """
    directories = list(directories)
    if not directories:
        raise ValueError("there is no checkpoint to average")
    with ExitStack() as stack:
        checkpoints = [_open(directory, stack) for directory in directories]
        for directory, checkpoint in zip(directories[1:], checkpoints[1:], strict=True):
            if differing := checkpoints[0].keys() ^ checkpoint.keys():
                raise ValueError(
                    f"{directories[0]} and {directory} hold different models: "
                    f"{counted(len(differing), 'tensors are', one='tensor is')} in only one of them, "
                    f"e.g. {min(differing)!r}"
                )
        return {name: _mean(name, directories, [c[name] for c in checkpoints]) for name in checkpoints[0]}


def _open(directory: str | Path, stack: ExitStack) -> dict:
    """Returns, for the name of each tensor, the open file that holds it."""
    found: dict = {}
    for path in weight_files(directory):
        with reading(path):
            file = stack.enter_context(safe_open(path, framework="pt"))
            found |= dict.fromkeys(file.keys(), file)
    return found


def _mean(name: str, directories: list, files: list) -> torch.Tensor:
    """Returns the mean of the tensor `name` over all files.

    Raises:
        ValueError: the tensors differ in shape or data type.
    """
    first = files[0].get_tensor(name)
    total = first.to(torch.float64) if first.is_floating_point() else first
    for directory, file in zip(directories[1:], files[1:], strict=True):
        tensor = file.get_tensor(name)
        if tensor.shape != first.shape or tensor.dtype != first.dtype:
            raise ValueError(
                f"tensor {name!r} is {tuple(first.shape)} {first.dtype} in {directories[0]}, but "
                f"{tuple(tensor.shape)} {tensor.dtype} in {directory}"
            )
        total = total + tensor if first.is_floating_point() else tensor
    return (total / len(files)).to(first.dtype) if first.is_floating_point() else total
