"""Training, saving and loading tokenizers, and making tokenizers and model configurations agree."""

from .families import FAMILIES, Family
from .files import TARGET_SUBFOLDER, load_tokenizers, save_tokenizers
from .models import MODELS, NORMALIZATIONS
from .special_tokens import special_token_config
from .train import train_tokenizer

__all__ = [
    "FAMILIES",
    "MODELS",
    "NORMALIZATIONS",
    "TARGET_SUBFOLDER",
    "Family",
    "load_tokenizers",
    "save_tokenizers",
    "special_token_config",
    "train_tokenizer",
]
