"""Errors of loading a model or a tokenizer, told in one line that names the directory and the damage."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from .checkpoint_files import PICKLE_REMEDY, TOKENIZER_FILES, check_model_files, check_tokenizer_files
from .field_checks import CONFIG, check_fields
from .names import INDEX, WEIGHTS
from .reading import AGAIN, read_object

HUB_OPTIONS = frozenset({"cache_dir", "local_files_only", "proxies", "revision", "token"})
DOWNLOAD_AGAIN = "delete it, so that it is downloaded again"


class CannotLoad(ValueError, RuntimeError):
    """The files of a directory do not make a model or a tokenizer.

    It is also a RuntimeError, because transformers raises that where the sizes of weights differ.
    """


def short(error: object, length: int = 300) -> str:
    """The message of an error in one line, or the kind of the error where it has no message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else f"{text[:length]}..."


@contextmanager
def naming_damage(source: Any, subfolder: str = "", **where: Any) -> Iterator[None]:
    """Surrounds the loading of a model, so that an error names the file that is damaged.

    The files of a directory are checked before the block runs, and so is the config.json of a repository. The weights
    of a repository are checked only after an error in the block, because only then are they certain to be on this
    machine.

    Args:
        source: what is given to `from_pretrained`.
        where: the options that say where the files are, of which some are used here; see `HUB_OPTIONS`.

    Raises:
        ValueError: a file is damaged or may not be opened, or the weights are pickled; see `check_model_files`.
        CannotLoad (a ValueError): the files are whole, but they do not make a model.
        FileNotFoundError: there is no such directory, and no repository of this name can be read.
    """
    if is_directory(source, subfolder):
        check_model_files(Path(source, subfolder))
    elif (config := downloaded(source, CONFIG, subfolder, **where)) is not None:
        check_fields(config, read_object(config, DOWNLOAD_AGAIN))
    try:
        yield
    except OSError as error:
        if not isinstance(source, str | os.PathLike) or os.path.lexists(source):
            raise
        if downloaded(source, CONFIG, subfolder, **{**where, "local_files_only": True}) is not None:
            raise _no_weights(source, error) from error
        raise _nothing_there(source, error) from error
    except SafetensorError as error:
        _check_downloaded_weights(source, subfolder, where)
        raise ValueError(f"the weights of {source} are damaged ({error}); {AGAIN}") from error
    except StrictDataclassError as error:  # from the configuration, which does not know its file
        raise wrong_field(Path(source, subfolder), error) from error
    except ValueError:  # its message already names the damage; a CannotLoad is also a RuntimeError
        raise
    except Exception as error:
        if not _is_damage(error):
            raise
        if "ignore_mismatched_sizes" in str(error):  # transformers has logged a table of the weights
            reason = (
                "weights have other sizes than config.json says; "
                "ignore_mismatched_sizes=True replaces them by new ones"
            )
        else:
            reason = short(error)
        raise CannotLoad(f"{source} cannot be loaded: {reason}") from error


def is_directory(source: Any, subfolder: str = "") -> bool:
    """Whether what is given to `from_pretrained` names a directory on this machine."""
    return isinstance(source, str | os.PathLike) and Path(source, subfolder).is_dir()


def check_tokenizer(source: Any, subfolder: str = "", **where: Any) -> None:
    """Checks the files of a tokenizer in a directory, or in a repository, from which they are downloaded.

    Args:
        where: the options that say where the files are, of which some are used here; see `HUB_OPTIONS`.

    Raises:
        ValueError: a file is damaged or may not be opened; see `check_tokenizer_files`.
    """
    if is_directory(source, subfolder):
        return check_tokenizer_files(Path(source, subfolder))
    for name in TOKENIZER_FILES:
        if (file := downloaded(source, name, subfolder, **where)) is not None:
            check_fields(file, read_object(file, DOWNLOAD_AGAIN))


def downloaded(source: Any, name: str, subfolder: str = "", **where: Any) -> Path | None:
    """A file of a repository, which is downloaded where that is allowed; None: the file cannot be had."""
    if not isinstance(source, str) or os.path.lexists(source):
        return None
    from transformers.utils import cached_file  # imported here, because it takes time

    options = {name: value for name, value in where.items() if name in HUB_OPTIONS}
    try:
        found = cached_file(source, name, subfolder=subfolder, _raise_exceptions_for_missing_entries=False, **options)
    except OSError:  # the block that needs the file says what is wrong
        return None
    return None if found is None else Path(found)


def wrong_field(directory: Path, error: Exception) -> ValueError:
    """The error that a configuration gives for a field of its file, with the name of this file."""
    return ValueError(f"{directory}/config.json: {short(error)}; correct it, or {AGAIN}")


def _nothing_there(source: str | os.PathLike[str], error: OSError) -> FileNotFoundError:
    reason = str(error).strip().partition("\n")[0]
    return FileNotFoundError(
        f"there is no model {os.fspath(source)}: no directory has this name, and no repository of the Hub with this "
        f"name could be read ({reason})"
    )


def _no_weights(source: str | os.PathLike[str], error: OSError) -> FileNotFoundError:
    reason = str(error).strip().partition("\n")[0]
    return FileNotFoundError(
        f"{os.fspath(source)} has no weights in safetensors that can be read ({reason}); {PICKLE_REMEDY}"
    )


def _check_downloaded_weights(source: Any, subfolder: str, where: dict[str, Any]) -> None:
    """Looks for the damaged file among the downloaded files of a repository; raises ValueError when it is found."""
    for name in (WEIGHTS, INDEX):
        found = downloaded(source, name, subfolder, **{**where, "local_files_only": True})
        if found is not None:
            check_model_files(found.parent, DOWNLOAD_AGAIN)


def _is_damage(error: Exception) -> bool:
    """Whether an error can come from what the files say. The library `tokenizers` raises a bare Exception."""
    kinds = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError)
    damaged = type(error) is Exception or isinstance(error, kinds)
    return damaged and not isinstance(error, NotImplementedError) and "out of memory" not in str(error)
