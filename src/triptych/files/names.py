"""The names of the files that the package, or a model or tokenizer that it saves, writes into a directory."""

import re
from collections.abc import Callable

TEMPORARY = ".tmp"
"""The end of the name of a file or directory that is still being written."""
RECORD = ".triptych-files.json"
"""The file in which `new_directory` records who wrote a directory, and which files."""

INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
_MODEL = (
    r"(configuration|modeling|pipelines)_triptych\.py|"
    r"config\.json|generation_config\.json|model(-[0-9]{5}-of-[0-9]{5})?\.safetensors|model\.safetensors\.index\.json"
)
# All files that `save_pretrained` of transformers' tokenizers writes.
_TOKENIZER = (
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|chat_template\.(jinja|json)|"
    r"vocab\.(json|txt)|vocab-(src|tgt)\.json|target_vocab\.json|merges\.txt|bpe\.codes|dict\.txt|"
    r"(spiece|sentencepiece|sentencepiece\.bpe|spm|spm_char|tokenizer)\.model|(source|target)\.spm|"
    r"prophetnet\.tokenizer|byte_maps\.json|emoji\.json|normalizer\.json|entity_vocab\.json|"
    r"word_(pronunciation|shape)\.json|additional_chat_templates/([^/]+\.jinja)?"
)
MODEL_FILE = re.compile(_MODEL)
CHECKPOINT_ENTRY = re.compile(rf"{_MODEL}|(target_tokenizer/)?({_TOKENIZER})|target_tokenizer/")

Ours = Callable[[str], bool]
"""A function that says whether the package wrote a path. The path is relative, has slashes between its parts, and
ends in a slash if it is a directory."""


def is_checkpoint_entry(path: str) -> bool:
    """Whether the package (or a tokenizer or model that it saves) writes `path` into a checkpoint's directory."""
    return path == RECORD or CHECKPOINT_ENTRY.fullmatch(path) is not None


def is_plain(name: object) -> bool:
    """Whether `name` can only name an entry of a directory: it is not empty, has no slash, and is not `.` or `..`."""
    return isinstance(name, str) and name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)


def without_temporary(path: str) -> str:
    """The path that a temporary path gets when it is complete: the endings of temporary names are taken away."""
    return re.sub(rf"(\.[0-9a-f]{{8}}|\.old)?{re.escape(TEMPORARY)}(?=/|$)", "", path)
