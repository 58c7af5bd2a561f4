"""Finding the tokenizer of the target side, where source and target have separate vocabularies."""

from collections.abc import Mapping
from typing import Any

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import cached_file

from ..files import check_tokenizer
from ..tokenization.saving import TARGET_SUBFOLDER
from ..tokenization.two_vocabularies import target_side

_OF_FILES = ("revision", "token", "local_files_only", "cache_dir")


def has_target_vocabulary(config: PreTrainedConfig) -> bool:
    """Whether the target has a separate vocabulary.

    A configuration of transformers' Marian always has `decoder_vocab_size`, also where the vocabulary is shared.
    """
    size = getattr(config, "decoder_vocab_size", None)
    return size is not None and (size != config.vocab_size or config.model_type == "triptych")


def find_target_tokenizer(*places: Any, options: Mapping[str, Any]) -> PreTrainedTokenizerBase | None:
    """The target tokenizer that lies beside one of `places`: directories, repositories, tokenizers or models.

    Args:
        options: options of `AutoTokenizer.from_pretrained`.

    Returns:
        The tokenizer; None if a tokenizer among the places holds both vocabularies itself (Marian's, FSMT's).

    Raises:
        ValueError: there is no target tokenizer.
    """
    for place in places:
        if isinstance(place, PreTrainedTokenizerBase) and target_side(place) is not None:
            return None
        name = place if isinstance(place, str) else getattr(place, "name_or_path", None)
        if name and has_file(name, f"{TARGET_SUBFOLDER}/tokenizer_config.json", options):
            check_tokenizer(name, TARGET_SUBFOLDER, **options)
            return AutoTokenizer.from_pretrained(name, subfolder=TARGET_SUBFOLDER, **options)
        if name and has_file(name, "tokenizer_config.json", options):
            check_tokenizer(name, **options)
            held = target_side(AutoTokenizer.from_pretrained(name, **options))
            if held is not None:
                return held
    raise ValueError(
        "the model has a separate target vocabulary (config.decoder_vocab_size), but no target tokenizer was "
        f"given, and no folder {TARGET_SUBFOLDER!r} lies beside the model or the tokenizer; pass target_tokenizer="
    )


def has_file(name: str, file: str, options: Mapping[str, Any]) -> bool:
    """Whether a directory or a repository has a file; False if the directory or repository cannot be read."""
    where = {option: options[option] for option in _OF_FILES if option in options}
    try:
        return cached_file(name, file, **where) is not None
    except OSError:
        return False
