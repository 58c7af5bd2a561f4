"""Tokenizers: training, saving and loading them, and the configuration fields that follow from them."""

from .completion import begin_texts, complete_for_translation
from .families import FAMILIES, Family
from .files import fingerprint_of, load_tokenizers
from .languages import set_languages, target_language_options
from .models import MODELS, NORMALIZATIONS
from .saving import TARGET_SUBFOLDER, save_tokenizers
from .special_tokens import special_token_config
from .train import train_tokenizer

__all__ = [
    "FAMILIES",
    "MODELS",
    "NORMALIZATIONS",
    "TARGET_SUBFOLDER",
    "Family",
    "begin_texts",
    "complete_for_translation",
    "fingerprint_of",
    "load_tokenizers",
    "save_tokenizers",
    "set_languages",
    "special_token_config",
    "target_language_options",
    "train_tokenizer",
]
