"""Checks of a config.json, which other programs may have written. It is not trusted."""

import dataclasses
import inspect
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.utils import is_kernels_available

from ..files import OBJECT, OF_EVERY_MODEL, Check, has_numbers_as_keys
from .messages import logger

KERNEL_FIELDS = ("attn_implementation", "_attn_implementation")


def comes_from_the_hub(kernel: Any) -> bool:
    """Whether transformers would download the attention kernel of this name and run its code.

    transformers downloads FlashAttention, too, where that is not installed.
    """
    if not isinstance(kernel, str):
        return False
    if "/" in kernel:
        return True
    version = kernel.removeprefix("paged|").removeprefix("flash_attention_")
    if version == kernel.removeprefix("paged|") or not is_kernels_available():
        return False
    from transformers.modeling_flash_attention_utils import FLASH_ATTENTION_COMPATIBILITY_MATRIX as INSTALLED

    known = int(version) if version.isdecimal() else None
    return known in INSTALLED and not INSTALLED[known]["general_availability_check"]()


def _warn(name: str, kernel: Any) -> None:
    logger.warning(
        f"ignored {name}={kernel!r}, which a file of the checkpoint names, because it runs code from the Hub. To use "
        "it, give attn_implementation in your code"
    )


def without_kernels(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a file without attention kernels that come from the Hub. A warning names each of these."""
    kept = {}
    for name, value in fields.items():
        if name in KERNEL_FIELDS:
            parts = value if isinstance(value, dict) else {"": value}
            fetched = {part: kernel for part, kernel in parts.items() if comes_from_the_hub(kernel)}
            for kernel in fetched.values():
                _warn(name, kernel)
            if fetched:
                value = {part: kernel for part, kernel in parts.items() if part not in fetched}
                if not value:
                    continue
        elif name == "per_layer_config" and isinstance(value, dict):
            value = {layer: without_kernels(own) if isinstance(own, dict) else own for layer, own in value.items()}
        kept[name] = value
    return kept


def forget_kernels(config: PreTrainedConfig) -> PreTrainedConfig:
    """Removes attention kernels that come from the Hub from any model's configuration, and from its parts.

    The given configuration, which was read from a file, is changed.
    """
    kernel = getattr(config, "_attn_implementation", None)
    if comes_from_the_hub(kernel):
        _warn("attn_implementation", kernel)
        config._attn_implementation = {"": None}  # a dictionary changes this configuration only, not its parts
    for part in _parts(config):
        forget_kernels(part)
    return config


def names_a_kernel(config: PreTrainedConfig) -> bool:
    """Whether a configuration, or one of its parts, names an attention kernel that comes from the Hub."""
    kernel = getattr(config, "_attn_implementation", None)
    return comes_from_the_hub(kernel) or any(names_a_kernel(part) for part in _parts(config))


def _parts(config: PreTrainedConfig) -> list[PreTrainedConfig]:
    parts = [getattr(config, name, None) for name in config.sub_configs]
    return [part for part in parts if isinstance(part, PreTrainedConfig)]


def _is_dtype(value: Any) -> bool:
    dtype = getattr(torch, value, None) if isinstance(value, str) else value
    return dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # what torch can compute with


def _is_kernel(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, dict) and all(kernel is None or isinstance(kernel, str) for kernel in value.values())
    )


def _is_pipelines(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, dict) for entry in value.values())


def _is_layers(value: Any) -> bool:
    return has_numbers_as_keys(value) and all(isinstance(own, dict) for own in value.values())


DTYPE: Check = (_is_dtype, "float32, bfloat16, float16 or float64")
KERNEL: Check = (_is_kernel, "the name of an implementation, such as sdpa or eager")
# The fields that transformers uses without checking them. Each may also be null.
CHECKS: dict[str, Check] = {
    **OF_EVERY_MODEL,
    "dtype": DTYPE,
    "torch_dtype": DTYPE,
    "attn_implementation": KERNEL,
    "_attn_implementation": KERNEL,
    "experts_implementation": KERNEL,
    "_experts_implementation": KERNEL,
    "auto_map": OBJECT,
    "custom_pipelines": (_is_pipelines, "an object with an object for each task"),
    "per_layer_config": (_is_layers, "an object with numbers of layers as keys and objects as values"),
}
# Names that transformers uses internally and does not write, and names that it checks although no field has them.
INTERNAL = frozenset({"_heterogeneity_spec", "_post_init_done", "mlp_layer_types", "mtp_layer_types"})
# Fields for which null means something else to transformers than a missing field.
NULL_IS_MISSING = frozenset({"auto_map", "custom_pipelines", "num_labels"})


def _can_be_set(config_class: type[PreTrainedConfig], name: str) -> bool:
    """Whether a field of this name can be set: no method and no derived property has it, such as `layer_types`."""
    found = inspect.getattr_static(config_class, name, None)
    if name in INTERNAL:
        return False
    if found is None or name == "model_type" or name in {f.name for f in dataclasses.fields(config_class)}:
        return True
    return isinstance(found, property) and found.fset is not None


def from_file(config_class: type[PreTrainedConfig], fields: dict[str, Any]) -> dict[str, Any]:
    """What a configuration takes from the fields of a file.

    It ignores attention kernels that come from the Hub (with a warning), and names that belong to a method or to a
    derived property here.

    Raises:
        ValueError: a field that transformers uses as it is has a value of a wrong kind.
    """
    for name in CHECKS.keys() & fields.keys():
        check, meaning = CHECKS[name]
        if fields[name] is not None and not check(fields[name]):
            raise ValueError(f"{name}={fields[name]!r} in a file of a {config_class.__name__} must be {meaning}")
    return {
        name: value
        for name, value in without_kernels(fields).items()
        if _can_be_set(config_class, name) and not (value is None and name in NULL_IS_MISSING)
    }
