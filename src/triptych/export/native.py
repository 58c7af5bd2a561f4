"""The format hf: transformers' own class, with its tokenizer and its generation options."""

from pathlib import Path

from ..conversion import to_hf
from ..conversion.convert import destination
from ..tokenization import save_tokenizers
from .formats import Exported

QUANTIZATIONS: tuple[str, ...] = ()


def check(exported: Exported) -> None:
    """Raises CannotExpress (a ValueError) if no class of transformers can express the model."""
    destination(exported.model, exported.model_type)


def write(exported: Exported, directory: Path) -> list[str]:
    """Writes what `AutoModelFor….from_pretrained` and `AutoTokenizer.from_pretrained` read."""
    model = to_hf(exported.model, exported.model_type)
    model.save_pretrained(directory)
    if exported.tokenizers:
        save_tokenizers(directory, *exported.tokenizers)
    return [f"{type(model).__name__}, {model.num_parameters():,} parameters"]
