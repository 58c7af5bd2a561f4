"""Checks of the files of a model or a tokenizer, which are made without loading the model or the tokenizer."""

import os
import re
from pathlib import Path

from .field_checks import CONFIG, check_fields, check_layers
from .names import INDEX, WEIGHTS, is_checkpoint_entry, is_plain
from .reading import AGAIN, check_tensors, read_object
from .regular import may_be_opened

GENERATION_CONFIG, ADAPTER_CONFIG = "generation_config.json", "adapter_config.json"
TOKENIZER_FILES = (CONFIG, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
# Files that other libraries read beside those of `is_checkpoint_entry`.
_READ_BY_OTHERS = re.compile(r"\w+_config\.json|adapter_model\.safetensors|tekken\.json|modules\.json|.+\.jinja")
# Weights that are pickled: reading such a file can run code that it holds.
PICKLED = re.compile(r"pytorch_model.*\.bin(\.index\.json)?|adapter_model\.bin|.+\.(bin|ckpt|pt|pth|pkl|pickle)")
PICKLE_REMEDY = (
    "only weights in safetensors are read, because a pickle can run code. Where you trust the file, load it once with "
    "transformers alone, and save the model anew"
)


def pickled_weights(directory: Path) -> str | None:
    """The name of a pickle that holds the weights of a directory; None: they are in safetensors, or there are none.

    Pickles beside weights in safetensors are not opened by anybody.
    """
    names = sorted(os.listdir(directory))
    if ADAPTER_CONFIG in names and "adapter_model.bin" in names and "adapter_model.safetensors" not in names:
        return "adapter_model.bin"
    if any(name.endswith((".safetensors", ".safetensors.index.json")) for name in names):
        return None
    return next((name for name in names if PICKLED.fullmatch(name)), None)


def weight_files(directory: str | Path, remedy: str = AGAIN) -> list[Path]:
    """The files from which `from_pretrained` reads the weights: model.safetensors, or else the files in its index.

    Raises:
        FileNotFoundError: the directory holds no weights, or a file that the index names is missing.
        ValueError: the index is damaged, or it names a file outside the directory; a file may not be opened (see
            `may_be_opened`); or the weights are pickled.
    """
    directory = Path(directory)
    if may_be_opened(directory / WEIGHTS):
        return [directory / WEIGHTS]
    index = directory / INDEX
    if not may_be_opened(index):
        if pickle := pickled_weights(directory):
            raise ValueError(f"{directory / pickle} is a pickle; {PICKLE_REMEDY}")
        raise FileNotFoundError(f"{directory} holds no {WEIGHTS} and no {INDEX}; {remedy}")
    content = read_object(index, remedy)
    places = content.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{index} is damaged (it has no weight_map); {remedy}")
    if not isinstance(content.get("metadata", {}), dict):
        raise ValueError(f"{index} is damaged (its metadata are not an object); {remedy}")
    if strange := [name for name in places.values() if not is_plain(name) or not name.endswith(".safetensors")]:
        raise ValueError(f"{index} is damaged (it names {strange[0]!r} as a file of weights); {remedy}")
    files = [directory / name for name in sorted(set(places.values()))]
    if missing := [file.name for file in files if not may_be_opened(file)]:
        raise FileNotFoundError(f"{directory} lacks {missing[0]}, which {INDEX} names; {remedy}")
    return files


def check_model_files(directory: str | Path, remedy: str = AGAIN) -> None:
    """Checks the configurations, the index and the headers of the weights, as far as they exist.

    Raises:
        ValueError: one of these files is damaged or may not be opened; or the weights are pickled.
        FileNotFoundError: a file that the index names is missing.
    """
    directory = Path(directory)
    check_entries(directory)
    if pickle := pickled_weights(directory):
        raise ValueError(f"{directory / pickle} is a pickle; {PICKLE_REMEDY}")
    found = {}
    for name in (CONFIG, GENERATION_CONFIG, ADAPTER_CONFIG):
        if (directory / name).is_file():
            found[name] = read_object(directory / name, remedy)
            check_fields(directory / name, found[name])
    if (directory / WEIGHTS).is_file() or (directory / INDEX).is_file():
        tensors = sum(check_tensors(file, remedy) for file in weight_files(directory, remedy))
        check_layers(directory / CONFIG, found.get(CONFIG, {}), tensors)


def check_tokenizer_files(directory: str | Path, remedy: str = AGAIN) -> None:
    """Checks the JSON files of a tokenizer, and of a target tokenizer in its folder, as far as they exist.

    config.json is one of them, because `AutoTokenizer` reads it.

    Raises:
        ValueError: one of these files is damaged or may not be opened.
    """
    for folder in (Path(directory), Path(directory, "target_tokenizer")):
        if folder.is_dir():
            check_entries(folder, Path(directory))
        for name in TOKENIZER_FILES:
            if (folder / name).is_file():
                check_fields(folder / name, read_object(folder / name, remedy))


def check_entries(folder: Path, root: Path | None = None) -> None:
    """Refuses what may not be opened (see `may_be_opened`) under a name that this package or transformers opens."""
    for place in (folder, folder / "additional_chat_templates"):
        for name in sorted(os.listdir(place)) if place.is_dir() else ():
            if is_checkpoint_entry(name) or _READ_BY_OTHERS.fullmatch(name):
                may_be_opened(place / name, root or folder)
