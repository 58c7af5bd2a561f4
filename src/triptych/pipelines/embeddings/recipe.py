"""How a model makes a vector of a text: what a directory of sentence-transformers says of it.

Such a directory has `modules.json`, which names the steps behind the model: pooling, and perhaps a normalization. Each
step has a folder with its `config.json`. `sentence_bert_config.json` limits the length of the texts, and
`config_sentence_transformers.json` has the prompts. What these files ask for is done, or refused by name: with another
pooling, the vectors of a model look right and mean nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from ...files.names import is_plain
from ...files.reading import read_json, read_object
from .pooling import POOLINGS, SIMILARITIES, check_word

MODULES, PROMPTS = "modules.json", "config_sentence_transformers.json"
# The file of the first step. It has had a name for each architecture.
LENGTHS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
LEFT_TO_THEM = "embed with sentence_transformers.SentenceTransformer, which does all of its steps"

Find = Callable[[str], Path | None]
"""Finds a file of a directory or a repository by its path there; None: it is not there."""


@dataclass(frozen=True)
class Recipe:
    """How a model makes a vector of a text.

    Attributes:
        pooling: words of `pooling.POOLINGS`; the vectors of several stand one behind the other.
        normalize: whether vectors get the length 1.
        include_prompt: whether the tokens of a prompt are pooled, too.
        prompts: the name of each prompt → its text, which is put before the texts.
        default_prompt: the name of the prompt of a call that names none.
        similarity: a word of `pooling.SIMILARITIES`: how vectors of this model are compared.
        max_tokens: the most tokens of a text; None: what the model and its tokenizer can take.
        lower_case: whether texts are written in lower case first.
    """

    pooling: tuple[str, ...] = ("mean",)
    normalize: bool = False
    include_prompt: bool = True
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    similarity: str = "cosine"
    max_tokens: int | None = None
    lower_case: bool = False


def read_recipe(name: str, **files: Any) -> Recipe | None:
    """What the files of sentence-transformers in a directory or a repository say; None: there are none.

    Args:
        files: options that say which files are read: `revision`, `token`, `cache_dir`, `local_files_only`; those about
            code are ignored.

    Raises:
        ValueError: a file is damaged, or asks for something that this package does not do.
        OSError: the repository cannot be reached.
    """

    files = {option: files[option] for option in files.keys() - {"trust_remote_code", "code_revision"}}

    def find(path: str) -> Path | None:
        found = cached_file(name, path, _raise_exceptions_for_missing_entries=False, **files)
        return None if found is None else Path(found)

    file = find(MODULES)
    if file is None:
        return None
    recipe = Recipe()
    for kind, folder in steps(read_json(file), file):
        recipe = STEPS[kind](recipe, folder, find)
    return with_prompts(recipe, find)


def steps(content: Any, file: Path) -> list[tuple[str, str]]:
    """The steps that `modules.json` names: the kind of each, and its folder ("" is the directory itself).

    Raises:
        ValueError: they are not a model, a pooling, and perhaps a normalization.
    """
    found = []
    for step in content if isinstance(content, list) else [None]:
        kind, folder = (step.get("type"), step.get("path")) if isinstance(step, Mapping) else (None, None)
        if not isinstance(kind, str) or not (folder == "" or is_plain(folder)):
            raise ValueError(f"{file}: {step!r:.200} is no step with `type` and `path`, the name of a folder")
        found.append((kind.rpartition(".")[2], str(folder)))
    kinds = [kind for kind, _ in found]
    known_kinds = [[*STEPS][:2], [*STEPS]]
    if kinds not in known_kinds:
        expected = " or ".join(", ".join(known) for known in known_kinds)
        raise ValueError(f"{file} has the steps {', '.join(kinds)}; known are {expected}; {LEFT_TO_THEM}")
    if found[0][1]:
        raise ValueError(f"{file}: the model lies in the folder {found[0][1]!r}; {LEFT_TO_THEM}")
    return found


def with_lengths(recipe: Recipe, folder: str, find: Find) -> Recipe:
    """Adds what `sentence_bert_config.json` says of the texts."""
    file = next((found for name in LENGTHS if (found := find(name)) is not None), None)
    if file is None:
        return recipe
    said = Said(file)
    said.check_plain(PLAIN)
    of_texts = said.get("modality_config", Mapping, {}).get("text")
    if of_texts not in (None, PLAIN_TEXTS):
        raise said.refused("modality_config.text", of_texts, LEFT_TO_THEM)
    length = said.get("max_seq_length", int, None)
    if length is not None and length < 1:
        raise said.refused("max_seq_length", length, "it must be at least 1")
    return replace(recipe, max_tokens=length, lower_case=said.get("do_lower_case", bool, False))


def with_pooling(recipe: Recipe, folder: str, find: Find) -> Recipe:
    """Adds what the step `Pooling` says, in its present form or in that of older versions, a flag for each word."""
    said = Said(needed(folder, find))
    for name in said.content:
        if name.startswith("pooling_mode_") and name not in OLD_FLAGS:
            raise said.refused(name, said.content[name], LEFT_TO_THEM)
    flagged = [word for name, word in OLD_FLAGS.items() if said.get(name, bool, False)]
    # A file without a word and without a flag that is true means the mean, as in sentence-transformers.
    words = said.content.get("pooling_mode", flagged or ["mean"])
    words = [words] if isinstance(words, str) else words
    if (
        not isinstance(words, list)
        or not words
        or not all(isinstance(word, str) and word in POOLINGS for word in words)
    ):
        raise said.refused("pooling_mode", words, f"known are {', '.join(POOLINGS)}; {LEFT_TO_THEM}")
    return replace(recipe, pooling=tuple(words), include_prompt=said.get("include_prompt", bool, True))


def with_normalization(recipe: Recipe, folder: str, find: Find) -> Recipe:
    """Adds the step `Normalize`, whose file is missing in older versions."""
    file = find(f"{folder}/config.json")
    if file is not None:
        Said(file).check_plain(dict.fromkeys(("module_input_name", "module_output_name"), "sentence_embedding"))
    return replace(recipe, normalize=True)


# What the fields of the first step must be, where they are there: then the step is the model's plain forward.
PLAIN: dict[str, Any] = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "processing_kwargs": {},
    "query_length": None,
    "document_length": None,
    "query_expansion": None,
}
PLAIN_TEXTS = {"method": "forward", "method_output_name": "last_hidden_state"}
# The flags by which older versions name a pooling.
OLD_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# The kinds of steps, in their order; the last one may be missing.
STEPS: dict[str, Callable[[Recipe, str, Find], Recipe]] = {
    "Transformer": with_lengths,
    "Pooling": with_pooling,
    "Normalize": with_normalization,
}


def with_prompts(recipe: Recipe, find: Find) -> Recipe:
    """Adds what `config_sentence_transformers.json` says: prompts, and how vectors are compared."""
    file = find(PROMPTS)
    if file is None:
        return recipe
    said = Said(file)
    prompts = said.get("prompts", Mapping, {})
    for name, text in prompts.items():
        if not isinstance(text, str):
            raise said.refused(f"prompts.{name}", text, "a prompt is a text")
    default = said.get("default_prompt_name", str, None)
    if default is not None and default not in prompts:
        raise said.refused("default_prompt_name", default, f"the prompts are {', '.join(prompts) or 'none'}")
    similarity = said.get("similarity_fn_name", str, None) or "cosine"
    if similarity not in SIMILARITIES:
        raise said.refused("similarity_fn_name", similarity, f"known are {', '.join(SIMILARITIES)}")
    return replace(recipe, prompts=dict(prompts), default_prompt=default, similarity=similarity)


def needed(folder: str, find: Find) -> Path:
    """The `config.json` of a step.

    Raises:
        ValueError: it is missing.
    """
    path = f"{folder}/config.json" if folder else "config.json"
    file = find(path)
    if file is None:
        raise ValueError(f"{MODULES} names a step in the folder {folder!r}, but {path} is missing; download it again")
    return file


class Said:
    """The fields of one of the JSON files."""

    def __init__(self, file: Path) -> None:
        self.file, self.content = file, read_object(file)

    def get(self, name: str, kind: type, otherwise: Any) -> Any:
        """The value of a field; `otherwise` where it is missing or null.

        Raises:
            ValueError: the value is of another kind.
        """
        value = self.content.get(name)
        if value is None:
            return otherwise
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.refused(name, value, f"expected is {kind.__name__}")
        return value

    def check_plain(self, expected: Mapping[str, Any]) -> None:
        """Raises ValueError for a field that is there, is not null, and is something else than expected."""
        for name, value in expected.items():
            if self.content.get(name) not in (None, value):
                raise self.refused(name, self.content[name], LEFT_TO_THEM)

    def refused(self, name: str, value: Any, remedy: str) -> ValueError:
        """The error for a field."""
        return ValueError(f"{self.file}: {name}={value!r:.100} cannot be used; {remedy}")


def pooling_words(pooling: Any) -> tuple[str, ...]:
    """The words of an option `pooling`: one word, or several.

    Raises:
        ValueError: a word is unknown.
    """
    words = (pooling,) if isinstance(pooling, str) else tuple(pooling)
    if not words:
        raise ValueError("pooling=() names no pooling; leave it out, or name one")
    return tuple(check_word(word, POOLINGS, "pooling") for word in words)
