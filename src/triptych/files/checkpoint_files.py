"""Checks of the files of a model or a tokenizer, which are made without loading the model or the tokenizer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .names import INDEX, WEIGHTS, is_plain
from .reading import AGAIN, check_tensors, read_object


def weight_files(directory: str | Path, remedy: str = AGAIN) -> list[Path]:
    """The files from which `from_pretrained` reads the weights: model.safetensors, or else the files in its index.

    Raises:
        FileNotFoundError: the directory holds no weights, or a file that the index names is missing.
        ValueError: the index is damaged, or it names a file outside the directory.
    """
    directory = Path(directory)
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    index = directory / INDEX
    if not index.is_file():
        raise FileNotFoundError(f"{directory} holds no {WEIGHTS} and no {INDEX}; {remedy}")
    places = read_object(index, remedy).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{index} is damaged (it has no weight_map); {remedy}")
    if strange := [name for name in places.values() if not is_plain(name) or not name.endswith(".safetensors")]:
        raise ValueError(f"{index} is damaged (it names {strange[0]!r} as a file of weights); {remedy}")
    files = [directory / name for name in sorted(set(places.values()))]
    if missing := [file.name for file in files if not file.is_file()]:
        raise FileNotFoundError(f"{directory} lacks {missing[0]}, which {INDEX} names; {remedy}")
    return files


def check_model_files(directory: str | Path, remedy: str = AGAIN) -> None:
    """Checks config.json, generation_config.json, the index and the headers of the weights, as far as they exist.

    Raises:
        ValueError: one of these files is damaged.
        FileNotFoundError: a file that the index names is missing.
    """
    directory = Path(directory)
    for name in ("config.json", "generation_config.json"):
        if (directory / name).is_file():
            _check_fields(directory / name, read_object(directory / name, remedy))
    if (directory / WEIGHTS).is_file() or (directory / INDEX).is_file():
        for file in weight_files(directory, remedy):
            check_tensors(file, remedy)


def check_tokenizer_files(directory: str | Path, remedy: str = AGAIN) -> None:
    """Checks the JSON files of a tokenizer, and of a target tokenizer in its folder, as far as they exist.

    config.json is one of them, because `AutoTokenizer` reads it.

    Raises:
        ValueError: one of these files is damaged.
    """
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    for folder in (Path(directory), Path(directory, "target_tokenizer")):
        for name in names:
            if (folder / name).is_file():
                _check_fields(folder / name, read_object(folder / name, remedy))


Check = tuple[Callable[[Any], bool], str]
OBJECT: Check = (lambda value: isinstance(value, dict), "an object")
NAMES: Check = (
    lambda value: value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value)),
    "a list of names",
)
NUMBERED: Check = (
    lambda value: value is None or (isinstance(value, dict) and all(str(key).isdecimal() for key in value)),
    "an object with numbers as keys",
)
TEXT: Check = (lambda value: value is None or isinstance(value, str), "a text")
NUMBER: Check = (lambda value: value is None or isinstance(value, int | float), "a number")
# File → the fields that transformers uses without checking them, and what they must be.
FIELDS: dict[str, dict[str, Check]] = {
    "config.json": {
        "model_type": TEXT,
        "architectures": NAMES,
        "id2label": NUMBERED,
        "problem_type": TEXT,
    },
    "tokenizer_config.json": {"model_max_length": NUMBER},
}


def _check_fields(path: Path, fields: dict[str, Any]) -> None:
    """Refuses values of fields that transformers uses without checking them."""
    for name, (check, meaning) in ({"auto_map": OBJECT} | FIELDS.get(path.name, {})).items():
        if name in fields and not check(fields[name]):
            value = f"{fields[name]!r:.80}"
            raise ValueError(f"{path} is damaged ({name}={value} is not {meaning}); remove {name}")
