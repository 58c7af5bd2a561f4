"""Whether the weights that a configuration asks for are those that the files hold, before memory is taken for them."""

import math
from collections.abc import Iterable
from typing import Any

from safetensors import safe_open
from torch import nn

# A model may have this many more numbers than its files, such as those of a new head: 64 MiB in float32. Beside large
# files, it may have as many as they hold once more.
ALWAYS_ALLOWED = 2**24
PACKED = 8  # numbers that one stored number can stand for where the weights are quantised: 4 bits each, in 32


def check_allocation(source: Any, model: nn.Module, files: Iterable[Any] | None, is_quantized: bool = False) -> None:
    """Refuses a model that needs much more memory than its files of weights explain.

    Args:
        source: the directory or repository of the files, for the message.
        model: the model that was made from the configuration; only its tensors on the device `meta`, which take no
            memory yet, are counted.
        files: the files of weights; those that are not safetensors are not counted. None: there are no files.

    Raises:
        ValueError: the message names the tensor that differs most from the files.
    """
    if files is None:
        return
    files = [file for file in files if str(file).endswith(".safetensors")]
    stored: dict[str, tuple[int, ...]] = {}
    for file in files:
        with safe_open(file, framework="pt") as opened:
            stored |= {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    tied = getattr(model, "all_tied_weights_keys", {})  # they are one tensor with another, and take no memory
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    made = {name: tuple(t.shape) for name, t in tensors.items() if t.is_meta and name not in tied}
    held = sum(map(math.prod, stored.values())) * (PACKED if is_quantized else 1)
    needed = sum(map(math.prod, made.values()))
    if files and needed > 2 * held + ALWAYS_ALLOWED:
        name = max(made, key=lambda name: math.prod(made[name]) - math.prod(stored.get(name, (0,))))
        there = f"in the files it is {stored[name]}" if name in stored else "the files do not have it"
        raise ValueError(
            f"{source}/config.json describes a model of {needed} numbers, but the files of weights hold {held}: "
            f"{name} would be {made[name]}, and {there}; correct the sizes there, or copy or download it again"
        )
