"""The options of `from_hf`: which options of `from_pretrained` are used, and for what, and which are refused."""

import dataclasses
import difflib
from typing import Any

from ..files import PICKLE_REMEDY

# Options that say where the files are. They hold for the configuration and for the weights.
FILES = frozenset({"cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token"})
# Options of reading the weights. The last four have no effect, as in transformers.
WEIGHTS = frozenset(
    {
        "disable_mmap",
        "dtype",
        "generation_config",
        "ignore_mismatched_sizes",
        "key_mapping",
        "tqdm_class",
        "use_safetensors",
        "variant",
        "weights_only",
        "_fast_init",
        "low_cpu_mem_usage",
        "mirror",
        "offload_state_dict",
    }
)
# Options of the resulting model: its attention kernel, and the devices of its modules.
RESULT = frozenset({"attn_implementation", "device_map", "max_memory", "offload_buffers", "offload_folder"})

SAVED = "save the converted model and load it with this option"
# Options that no conversion has, and the remedy for each.
REFUSED = {
    "adapter_kwargs": "merge the adapter into its model first, and give that model",
    "adapter_name": "merge the adapter into its model first, and give that model",
    "allow_all_kernels": SAVED,
    "device_mesh": SAVED,
    "distributed_config": SAVED,
    "experts_implementation": "no architecture with experts can be converted",
    "from_flax": "transformers reads no weights of Flax any more",
    "from_tf": "transformers reads no weights of TensorFlow any more",
    "fusion_config": SAVED,
    "gguf_file": "load the file with transformers, and give the model",
    "kernel_config": SAVED,
    "quantization_config": f"{SAVED}: what is quantised cannot be rearranged",
    "return_unused_kwargs": "every option is used or refused",
    "state_dict": "make transformers' model, load the tensors into it, and give the model",
    "tp_plan": SAVED,
    "tp_size": SAVED,
    "trust_remote_code": "only classes of transformers itself are converted, no code of a checkpoint is run",
    "use_kernels": SAVED,
}


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of one call, sorted by their use.

    Args:
        files: the options that say where the files are.
        weights: the options of reading the weights.
        result: the options of the resulting model.
        config: a configuration, or the place of one, that replaces the one of the source.
        fields: all other options; they are new values for fields of the source's configuration.
        reports: whether the result of the call includes the report of loading.
    """

    files: dict[str, Any]
    weights: dict[str, Any]
    result: dict[str, Any]
    config: Any
    fields: dict[str, Any]
    reports: bool

    @classmethod
    def sort(cls, given: dict[str, Any]) -> "Options":
        """Sorts the options of a call.

        Raises:
            ValueError: no conversion has this option; the message names it and the remedy.
        """
        rest = dict(given)
        for name, remedy in REFUSED.items():
            if rest.pop(name, None):  # an option that is switched off changes nothing
                raise ValueError(f"{name}={given[name]!r} is no option of a conversion; {remedy}")
        if rest.get("weights_only") is False:
            raise ValueError("weights_only=False would run code from the file of weights; leave it out")
        if rest.get("use_safetensors") is False:
            raise ValueError(f"use_safetensors=False: {PICKLE_REMEDY}, or give the model that transformers has loaded")
        rest["use_safetensors"] = True
        if (former := rest.pop("torch_dtype", None)) is not None and rest.get("dtype") is None:
            rest["dtype"] = former
        if rest.get("dtype") is None:
            rest["dtype"] = "auto"
        config, reports = rest.pop("config", None), bool(rest.pop("output_loading_info", False))
        files, weights, result = (
            {name: rest.pop(name) for name in sorted(names & rest.keys())} for names in (FILES, WEIGHTS, RESULT)
        )
        return cls(files, weights, result, config, rest, reports)

    def refuse(self, names: frozenset[str], reason: str) -> None:
        """Raises ValueError if one of these options was given."""
        given = {**self.files, **self.weights, **self.result, "output_loading_info": self.reports or None}
        for name in sorted(names):
            if given.get(name) is not None:
                raise ValueError(f"{name}={given[name]!r} is no option {reason}")


def refuse_unknown(names: list[str], config: Any) -> None:
    """Refuses options that are neither options of a conversion nor fields of a configuration.

    Raises:
        ValueError: there is such an option; the message names it, and the known option that is most similar.
    """
    if names:
        known = {*FILES, *WEIGHTS, *RESULT, "config", "output_loading_info", *dir(config)}
        close = difflib.get_close_matches(names[0], known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"{names[0]!r} is neither an option of a conversion nor a field of {type(config).__name__}{hint}"
        )
