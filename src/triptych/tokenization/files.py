"""Loading the tokenizer of a model, or its source and target tokenizers."""

import os
import re
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import cached_file

from ..files import CannotLoad, check_tokenizer, check_tokenizer_files, short, wrong_field
from .saving import TARGET_SUBFOLDER
from .spm import load_sentencepiece
from .two_vocabularies import target_side

# tokenizer.json, vocab.txt, spiece.model, source.spm, ...: the names under which tokenizers have been saved.
_VOCABULARY_FILE = re.compile(r"tokenizer|vocab|tekken|\.model$|\.spm$|\.tiktoken$")
# With any of these files, transformers knows what the other files are.
_SETTINGS = {"tokenizer_config.json", "tokenizer.json", "config.json"}
_SENTENCEPIECE = (".model", ".spm")
_LIBRARY = re.compile(r"sentencepiece|sacremoses|protobuf|tiktoken|rjieba|jieba|fugashi", re.IGNORECASE)
_REPOSITORY = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_WHERE = ("cache_dir", "force_download", "local_files_only", "revision", "token")


def load_tokenizers(
    directory: str | os.PathLike[str], **kwargs: Any
) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase | None]:
    """The source (or only) tokenizer, and the target tokenizer or None.

    For a tokenizer that holds two vocabularies (FSMT's, and Marian's with `separate_vocabs`) the result is that
    tokenizer, and a tokenizer for the target's vocabulary alone. Code that lies beside a tokenizer is not run unless
    `trust_remote_code=True` is given.

    Args:
        directory: what `save_tokenizers` wrote; any directory or repository of the Hub that `AutoTokenizer` can load;
            a SentencePiece model (`spiece.model`), or a directory that holds only such a model; or a
            `tokenizer.json`, whose special tokens then have no roles.
        **kwargs: options of `AutoTokenizer.from_pretrained`.

    Raises:
        FileNotFoundError: there is no file, directory or repository of this name, or a directory holds no tokenizer.
        ValueError: the file or directory cannot be read as a tokenizer, or one of its files is damaged; the message
            says what is wrong or missing.
    """
    subfolder = kwargs.pop("subfolder", "")
    kwargs.setdefault("trust_remote_code", False)
    path = Path(directory, subfolder)
    if path.is_file():
        return _load_file(path, **kwargs), None
    if path.is_dir():
        names = {file.name for file in path.iterdir()}
        if not any(_VOCABULARY_FILE.search(name) for name in names):
            raise FileNotFoundError(f"{path} holds no tokenizer; train one with triptych train-tokenizer")
        if not names & _SETTINGS:
            check_tokenizer_files(path)
            return _load_sentencepiece_directory(path), None
    elif _is_path(directory):
        raise FileNotFoundError(f"there is no tokenizer {path}: no file or directory has this name")
    tokenizer = open_tokenizer(directory, subfolder, **kwargs)
    target_subfolder = f"{subfolder}/{TARGET_SUBFOLDER}".lstrip("/")
    has_target = cached_file(
        directory,
        "tokenizer_config.json",
        subfolder=target_subfolder,
        _raise_exceptions_for_missing_entries=False,
        **{name: value for name, value in kwargs.items() if name in _WHERE},
    )
    if has_target is None:
        return tokenizer, target_side(tokenizer)
    return tokenizer, open_tokenizer(directory, target_subfolder, **kwargs)


def fingerprint_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """A text that two tokenizers share exactly when they have the same tokens and rules, wherever their files are."""
    if tokenizer.is_fast:
        return str(tokenizer.backend_tokenizer.to_str())
    with tempfile.TemporaryDirectory() as temporary:
        files = [Path(file) for file in tokenizer.save_vocabulary(temporary)]
        contents = {file.name: file.read_bytes().hex() for file in files}
    added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
    return f"{type(tokenizer).__name__} {sorted(contents.items())} {sorted(added.items())}"


def open_tokenizer(directory: str | os.PathLike[str], subfolder: str, **kwargs: Any) -> PreTrainedTokenizerBase:
    """The tokenizer that `AutoTokenizer` finds; error messages name the directory and the remedy.

    Raises:
        FileNotFoundError: there is no tokenizer.
        ValueError: it cannot be read, or one of its files is damaged.
    """
    path = Path(directory, subfolder)
    check_tokenizer(directory, subfolder, **kwargs)
    try:
        return AutoTokenizer.from_pretrained(directory, subfolder=subfolder, **kwargs)
    except ImportError as error:
        library = _LIBRARY.search(str(error))
        needed = library[0].lower() if library else "a library that is not installed"
        raise ValueError(f"the tokenizer in {path} needs {needed}; pip install {needed}") from error
    except OSError as error:
        if path.exists():
            raise
        raise FileNotFoundError(
            f"there is no tokenizer {path}: no file or directory has this name, and no repository of the Hub with "
            "this name could be read"
        ) from error
    except ValueError as error:
        if path.is_dir() and any(path.glob("*.model")) and find_spec("sentencepiece") is None:
            raise ValueError(
                f"the tokenizer in {path} is a SentencePiece model, which needs sentencepiece; "
                "pip install sentencepiece"
            ) from error
        if str(path) in str(error):
            raise
        raise CannotLoad(f"the tokenizer in {path} cannot be loaded: {short(error)}") from error
    except StrictDataclassError as error:  # from the configuration beside it, which does not know its file
        raise wrong_field(path, error) from error
    except Exception as error:  # `tokenizers` raises a bare Exception, and transformers does not check what it reads
        raise CannotLoad(f"the tokenizer in {path} cannot be loaded: {short(error)}") from error


def _load_file(path: Path, **kwargs: Any) -> PreTrainedTokenizerBase:
    if path.suffix in _SENTENCEPIECE:
        return load_sentencepiece(path)
    if path.suffix != ".json":
        raise ValueError(
            f"{path} is a file, but neither a SentencePiece model ({', '.join(_SENTENCEPIECE)}) nor a tokenizer.json; "
            "name the tokenizer's directory"
        )
    kwargs = {name: value for name, value in kwargs.items() if name not in (*_WHERE, "trust_remote_code")}
    try:
        return PreTrainedTokenizerFast(tokenizer_file=str(path), name_or_path=str(path), **kwargs)
    except Exception as error:  # the library `tokenizers` raises a bare Exception
        raise ValueError(f"{path} is not a tokenizer.json: {error}; name the tokenizer's directory") from error


def _load_sentencepiece_directory(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a directory that holds SentencePiece models, but no file that says what they are for."""
    found = sorted(file for file in path.iterdir() if file.suffix in _SENTENCEPIECE)
    if [file.name for file in found] == ["source.spm", "target.spm"]:
        raise ValueError(
            f"{path} holds the vocabularies of a Marian tokenizer, but not its tokenizer_config.json; write one with "
            '{"tokenizer_class": "MarianTokenizer"}'
        )
    if len(found) != 1:
        held = ", ".join(file.name for file in found or sorted(path.iterdir()))
        raise ValueError(
            f"{path} has neither tokenizer_config.json nor tokenizer.json, so no file says what {held} are; add the "
            "missing file, or name one SentencePiece model"
        )
    return load_sentencepiece(found[0])


def _is_path(name: str | os.PathLike[str]) -> bool:
    """Whether a name can only be a path on the disk; the names on the Hub are `name` or `owner/name`."""
    text = os.fspath(name)
    return not _REPOSITORY.fullmatch(text) or Path(text).suffix in (".json", *_SENTENCEPIECE)
