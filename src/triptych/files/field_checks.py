"""Checks of the fields of a file that other programs may have written. Nothing of a model is needed for them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .reading import AGAIN

CONFIG = "config.json"
LARGEST_SIZE = 2**31 - 1  # the largest 32-bit index; a larger size is a mistake, or an attack
MOST_LAYERS = 10_000  # ten times as many as the deepest published Transformer has (Wang et al. 2022)
LAYERS_OF_FEW_TENSORS = 256  # layers may share their tensors (ALBERT); each other layer has one of its own
# Names of fields that say how many layers a model has: n_layer, num_hidden_layers, encoder_layers, ...
LAYERS = re.compile(r"(\w+_)?layers?")
# Names of fields that say how many of something there are, or how wide it is.
COUNTS = re.compile(rf"{LAYERS.pattern}|(\w+_)?(heads?|size|dim|positions|embeddings|embd|head|labels)|d_\w+")
# Settings of other libraries, in which the same names mean other things: `dim` may be the last axis, -1.
OF_OTHERS = frozenset({"quantization_config", "compression_config"})
TOKENIZER_NAME = re.compile(r"(?!Auto|Rag)\w*(Tokenizer|TokenizerFast|Backend)")

Check = tuple[Callable[[Any], bool], str]


def is_object(value: Any) -> bool:
    """Whether it is an object of JSON. (A configuration in use holds other objects, which can be written as such.)"""
    return isinstance(value, dict) or hasattr(value, "to_dict")


def is_list_of_names(value: Any) -> bool:
    """Whether it is a list of texts."""
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def has_numbers_as_keys(value: Any) -> bool:
    """Whether it is an object such as {"0": ...}; the keys have at most ten digits."""
    return isinstance(value, dict) and all(re.fullmatch("[0-9]{1,10}", str(key)) for key in value)


def names_labels(value: Any) -> bool:
    """Whether it is an object such as {"0": "positive"}."""
    return has_numbers_as_keys(value) and all(isinstance(label, str | int | float) for label in value.values())


def is_file_of_weights(value: Any) -> bool:
    """Whether it can only name a safetensors file, or an index of such files, in the same directory."""
    return isinstance(value, str) and re.fullmatch(r"[\w.-]+\.safetensors(\.index\.json)?", value) is not None


def is_tokenizer_class(value: Any) -> bool:
    """Whether it can be the name of a tokenizer's class.

    transformers calls `from_pretrained` of whatever it has by this name, also of `AutoModel`; and RagTokenizer loads
    other tokenizers without the caller's options. Both ask on standard input whether code of the checkpoint may run.
    """
    return isinstance(value, str) and TOKENIZER_NAME.fullmatch(value) is not None


def is_list_of_tokens(value: Any) -> bool:
    """Whether it is a list of objects with an `id`, a number that a tokenizer can have."""
    return isinstance(value, list) and all(
        isinstance(token, dict) and isinstance(token.get("id"), int) and 0 <= token["id"] <= LARGEST_SIZE
        for token in value
    )


OBJECT: Check = (is_object, "an object")
NUMBERED: Check = (has_numbers_as_keys, "an object with numbers as keys")
TOKENIZER_CLASS: Check = (is_tokenizer_class, "the name of a tokenizer's class")
TEXT: Check = (lambda value: isinstance(value, str), "a text")
# The fields of config.json that transformers uses without checking them, in every model, and what they must be. Each
# of them may also be null.
OF_EVERY_MODEL: dict[str, Check] = {
    "architectures": (is_list_of_names, "a list of names"),
    "id2label": (names_labels, "an object with numbers as keys and texts as values"),
    "model_type": TEXT,
    "problem_type": TEXT,
    "quantization_config": OBJECT,
    "tokenizer_class": TOKENIZER_CLASS,
    "transformers_weights": (is_file_of_weights, "the name of a file in the same directory, *.safetensors"),
}
# The same for other files.
FIELDS: dict[str, dict[str, Check]] = {
    CONFIG: OF_EVERY_MODEL,
    "adapter_config.json": {"base_model_name_or_path": TEXT},
    "tokenizer.json": {"added_tokens": (is_list_of_tokens, f"a list of tokens, with ids from 0 to {LARGEST_SIZE}")},
    "tokenizer_config.json": {
        "added_tokens_decoder": NUMBERED,
        "model_max_length": (lambda value: isinstance(value, int | float), "a number"),
        "tokenizer_class": TOKENIZER_CLASS,
    },
}


def check_fields(path: Path, fields: dict[str, Any]) -> None:
    """Refuses values of fields that transformers uses without checking them.

    Raises:
        ValueError: a value is of a wrong kind, or a number of config.json is none that a model can have.
    """
    for name, (is_right, meaning) in FIELDS.get(path.name, {}).items():
        if fields.get(name) is not None and not is_right(fields[name]):
            raise ValueError(f"{path} is damaged ({name}={excerpt(fields[name])} is not {meaning}); remove {name}")
    if not isinstance(fields.get("auto_map", {}), dict):  # to transformers, null is not the same as nothing
        raise ValueError(
            f"{path} is damaged (auto_map={excerpt(fields['auto_map'])} is not an object); remove auto_map"
        )
    if path.name == CONFIG:
        check_numbers(path, fields)


def check_numbers(path: Path, fields: dict[str, Any]) -> None:
    """Refuses whole numbers that no model has, before a library makes a model of them.

    Only the base of rotary positions (`rope_theta`) may be greater than any size.
    """
    for name, value in whole_numbers(fields):
        if value < 0 and COUNTS.fullmatch(name):
            reason = f"{name}={excerpt(value)} is less than 0"
            raise ValueError(f"{path} is damaged ({reason}); correct {name}, or {AGAIN}")
        most = MOST_LAYERS if LAYERS.fullmatch(name) else LARGEST_SIZE
        if abs(value) > most and "theta" not in name:
            raise ValueError(
                f"{path} is damaged ({name}={excerpt(value)} is more than {most}); correct {name}, or {AGAIN}"
            )


def check_layers(path: Path, fields: dict[str, Any], tensors: int) -> None:
    """Refuses more layers than the weights can have. Making a layer takes time, also where it takes no memory.

    Args:
        tensors: the number of tensors in the files of weights.
    """
    for name, value in whole_numbers(fields):
        if LAYERS.fullmatch(name) and value > max(tensors, LAYERS_OF_FEW_TENSORS):
            raise ValueError(f"{path} is damaged ({name}={value}, but the weights are {tensors} tensors); {AGAIN}")


def whole_numbers(fields: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The whole numbers of an object, also those inside its lists and objects, with the names of their fields."""
    todo: list[tuple[str, Any]] = list(fields.items())
    while todo:
        name, value = todo.pop()
        if name in OF_OTHERS:
            continue
        if isinstance(value, dict):
            todo += value.items()
        elif isinstance(value, list):
            todo += [(name, entry) for entry in value]
        elif isinstance(value, int):
            yield name, value


def excerpt(value: Any) -> str:
    """The beginning of a value, for a message."""
    return f"{value!r:.80}"
