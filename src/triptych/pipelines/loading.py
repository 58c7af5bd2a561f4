"""Loading the configuration, the model and the tokenizers of a pipeline, from directories or from the Hub."""

import copy
from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from ..configuration import TriptychBaseConfig
from ..configuration.foreign import forget_kernels, names_a_kernel
from ..conversion.loading import check_sizes
from ..files import PICKLE_REMEDY, naming_damage
from ..tokenization import TARGET_SUBFOLDER
from ..tokenization.files import open_tokenizer
from ..tokenization.two_vocabularies import target_side

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
        with naming_damage(name):
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

    def load_tokenizer(self, name: str, subfolder: str = "") -> PreTrainedTokenizerBase:
        """The tokenizer in a directory or a repository, or in a folder of it."""
        options = self.files | self.tokenizer
        return open_tokenizer(name, subfolder, **options)

    def has_file(self, name: str, file: str) -> bool:
        """Whether a directory or a repository has a file; False if the directory or repository cannot be read."""
        where = {name: self.files[name] for name in self.files.keys() - {"trust_remote_code", "code_revision"}}
        try:
            return cached_file(name, file, **where) is not None
        except OSError:
            return False

    def find_target_tokenizer(self, *places: Any) -> PreTrainedTokenizerBase | None:
        """The target tokenizer that lies beside one of `places`: directories, repositories, tokenizers or models.

        Returns:
            The tokenizer; None if a tokenizer among the places holds both vocabularies itself (Marian's, FSMT's).

        Raises:
            ValueError: there is no target tokenizer.
        """
        for place in places:
            if isinstance(place, PreTrainedTokenizerBase) and target_side(place) is not None:
                return None
            name = place if isinstance(place, str) else getattr(place, "name_or_path", None)
            if name and self.has_file(name, f"{TARGET_SUBFOLDER}/tokenizer_config.json"):
                return self.load_tokenizer(name, TARGET_SUBFOLDER)
            if name and self.has_file(name, "tokenizer_config.json"):
                held = target_side(self.load_tokenizer(name))
                if held is not None:
                    return held
        raise ValueError(
            "the model has a separate target vocabulary (config.decoder_vocab_size), but no target tokenizer was "
            f"given, and no folder {TARGET_SUBFOLDER!r} lies beside the model or the tokenizer; pass target_tokenizer="
        )


def has_target_vocabulary(config: PreTrainedConfig) -> bool:
    """Whether the target has a separate vocabulary.

    A configuration of transformers' Marian always has `decoder_vocab_size`, also where the vocabulary is shared.
    """
    size = getattr(config, "decoder_vocab_size", None)
    return size is not None and (size != config.vocab_size or config.model_type == "triptych")
