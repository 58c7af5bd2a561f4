"""Loading the configuration, the model and the tokenizers of a pipeline, from directories or from the Hub."""

import copy
from dataclasses import dataclass
from typing import Any

from huggingface_hub import metadata_load
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file, is_peft_available

from ..configuration import TriptychBaseConfig
from ..configuration.foreign import forget_kernels, names_a_kernel
from ..conversion.loading import check_sizes
from ..conversion.options import FILES, RESULT, WEIGHTS
from ..files import PICKLE_REMEDY, naming_damage
from ..tokenization.files import open_tokenizer
from .options import logger
from .target_tokenizer import find_target_tokenizer, has_file

_FILE_OPTIONS = ("revision", "token", "trust_remote_code", "local_files_only", "code_revision")


def safetensors_only(options: dict[str, Any] | None) -> dict[str, Any]:
    """The options of loading a model, with the one that keeps transformers from reading pickles.

    Raises:
        ValueError: they ask for pickles.
    """
    if (options or {}).get("use_safetensors") is False:
        raise ValueError(f"use_safetensors=False: {PICKLE_REMEDY}, or give the model that transformers has loaded")
    return {**(options or {}), "use_safetensors": True}


@dataclass
class Loader:
    """Loads the parts of one pipeline.

    Attributes:
        files: options that say which files are read, for every part of the pipeline.
        model: the other options of `from_pretrained` of the model.
        tokenizer: the other options of `from_pretrained` of the tokenizers.
    """

    files: dict[str, Any]
    model: dict[str, Any]
    tokenizer: dict[str, Any]

    @classmethod
    def take_options(cls, options: dict[str, Any]) -> "Loader":
        """Takes the options of loading out of the keyword arguments of `triptych.pipeline`.

        Raises:
            ValueError: `dtype` or `device_map` is given both by itself and in `model_kwargs`.
        """
        model = dict(options.pop("model_kwargs", None) or {})
        files = {name: options.pop(name) for name in _FILE_OPTIONS if name in options}
        files |= {name: model.pop(name) for name in ("cache_dir", "code_revision") if name in model}
        for former in (options, model):
            if (dtype := former.pop("torch_dtype", None)) is not None and former.get("dtype", "auto") == "auto":
                former["dtype"] = dtype
        for name, default in (("dtype", "auto"), ("device_map", None)):
            given = options.pop(name, None)
            if name in model and given not in (None, default):
                raise ValueError(
                    f"{name} is given twice: {given!r}, and {model[name]!r} in model_kwargs; leave out one"
                )
            model.setdefault(name, default if given is None else given)
        tokenizer = {"use_fast": options.pop("use_fast")} if "use_fast" in options else {}
        return cls({name: value for name, value in files.items() if value is not None}, model, tokenizer)

    def load_config(self, name: str) -> PreTrainedConfig:
        """The configuration in a directory or a repository, without attention kernels that come from the Hub.

        Where the files name such a kernel, `load_model` ignores it, too: transformers reads the configuration again
        when it loads the model, so it must be told by an option. The option `_attn_implementation` takes the place of
        both names that a file can use; None means the default kernel.
        """
        with naming_damage(name, **self.files):
            config: PreTrainedConfig = AutoConfig.from_pretrained(name, **self.files)
        if names_a_kernel(config):
            forget_kernels(config)
            self.model.setdefault("_attn_implementation", self.model.get("attn_implementation"))
        return config

    def load_model(
        self, auto_class: Any, name: str, known: PreTrainedConfig, config: PreTrainedConfig | None = None
    ) -> PreTrainedModel:
        """The model in a directory or a repository.

        Args:
            auto_class: the Auto class that chooses the class of the model.
            known: the configuration in the files, or `config`.
            config: a configuration in place of the one in the files.

        Raises:
            ValueError: the files are damaged, or the weights are pickled.
        """
        options = self.files | safetensors_only(self.model)
        if config is not None:
            options["config"] = config
            options.pop("_attn_implementation", None)  # the given configuration names no kernel of the files
        self.check_sizes(auto_class, name, known)
        with naming_damage(name, **self.files):
            model: PreTrainedModel = auto_class.from_pretrained(name, **options)
        return model

    def check_sizes(self, model_class: Any, name: str, config: PreTrainedConfig) -> None:
        """Compares the sizes in a configuration with the weights, where a class of transformers reads them.

        Args:
            model_class: the class, or the Auto class that chooses it; None: transformers does not have it.

        Raises:
            ValueError: see `check_sizes` of the conversion.
        """
        options = self.files | self.model
        reads_other_files = any(options.get(name) for name in ("gguf_file", "trust_remote_code", "variant"))
        is_ours = isinstance(config, TriptychBaseConfig)  # these models compare the sizes themselves
        if model_class is None or is_ours or reads_other_files:
            return
        make = getattr(model_class, "from_config", None) or model_class._from_config
        check_sizes(name, config, lambda: make(copy.deepcopy(config)), **self.files)

    def load_tokenizer(self, name: str) -> PreTrainedTokenizerBase:
        """The tokenizer in a directory or a repository."""
        return open_tokenizer(name, "", **self.files, **self.tokenizer)

    def load_converted(self, auto_class: Any, name: str, public: PreTrainedConfig) -> PreTrainedModel | None:
        """The model of this package that computes what a public checkpoint computes; None if the checkpoint is used
        as it is. A line of the log says which, and why.

        Args:
            auto_class: the Auto class that would choose the class in transformers.
            public: the configuration in the directory or repository.
        """
        from ..conversion import CannotExpress, from_hf  # late, because most pipelines need no conversion

        options = {option: value for option, value in self.model.items() if value is not None}
        options.pop("_attn_implementation", None)  # a conversion heeds no kernel that files name
        try:
            self.check_convertible(auto_class, name, public, options)
            files = {option: self.files[option] for option in self.files.keys() & FILES}
            model: PreTrainedModel = from_hf(name, **files, **options)
        except CannotExpress as reason:
            logger.info("%s is used as it is, not converted: %s", name, reason)
            return None
        for field in ("prefix", "task_specific_params"):  # which pipelines heed, and a conversion leaves out
            value = getattr(public, field, None)
            if value and not getattr(model.config, field, None):
                setattr(model.config, field, value)
        logger.info("%s (%s) was converted to %s", name, public.model_type, type(model).__name__)
        return model

    def check_convertible(self, auto_class: Any, name: str, public: PreTrainedConfig, options: dict[str, Any]) -> None:
        """Checks, before anything is loaded, whether a public checkpoint is to be converted.

        Raises:
            CannotExpress: it is not, because of its architecture or its class, or because of an option.
        """
        from .. import modeling
        from ..conversion import CannotExpress, find_architecture

        head = next(iter(public.architectures or []), None)
        if head is None:
            raise CannotExpress("its configuration names no class")
        known = find_architecture(public, head)
        ours = getattr(modeling, known.heads[head])
        if auto_class.__name__ not in ours.auto_classes:
            raise CannotExpress(f"{head} has another head")
        if self.files.get("trust_remote_code") and (
            getattr(public, "auto_map", None) or has_file(name, "custom_generate/generate.py", self.files)
        ):
            raise CannotExpress("it brings code of its own")
        others = sorted({*options} - FILES - WEIGHTS - RESULT)
        if isinstance(options.get("device_map"), dict):
            others.append("device_map")
        if others:
            raise CannotExpress(f"{others[0]} is an option of its own class")
        if is_peft_available() and has_file(name, "adapter_config.json", self.files):
            raise CannotExpress("it has an adapter")

    def task_of(self, name: str) -> str | None:
        """The task that the model card in a directory or a repository names; None if it names none."""
        if not has_file(name, "README.md", self.files):
            return None
        where = {option: self.files[option] for option in self.files.keys() & FILES}
        said = metadata_load(cached_file(name, "README.md", **where)) or {}
        tag = said.get("pipeline_tag")
        return tag if isinstance(tag, str) else None

    def find_target_tokenizer(self, *places: Any) -> PreTrainedTokenizerBase | None:
        """The target tokenizer that lies beside one of `places`; see `target_tokenizer.find_target_tokenizer`."""
        return find_target_tokenizer(*places, options=self.files | self.tokenizer)
