"""Errors of loading a model or a tokenizer, told in one line that names the directory and the damage."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from .checkpoint_files import check_model_files
from .names import INDEX, WEIGHTS
from .reading import AGAIN


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

    The files of a directory are checked before the block runs. The files of a repository are checked only after an
    error in the block, because only then are they certain to be on this machine.

    Args:
        source: what is given to `from_pretrained`.
        where: the options `cache_dir` and `revision`, by which the files of a repository are found again.

    Raises:
        ValueError: a file is damaged; see `check_model_files`.
        CannotLoad (a ValueError): the files are whole, but they do not make a model.
        FileNotFoundError: there is no such directory, and no repository of this name can be read.
    """
    if isinstance(source, str | os.PathLike) and Path(source, subfolder).is_dir():
        check_model_files(Path(source, subfolder))
    try:
        yield
    except OSError as error:
        if not isinstance(source, str | os.PathLike) or os.path.lexists(source):
            raise
        raise _nothing_there(source, error) from error
    except SafetensorError as error:
        _check_downloaded_files(source, subfolder, where)
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


def wrong_field(directory: Path, error: Exception) -> ValueError:
    """The error that a configuration gives for a field of its file, with the name of this file."""
    return ValueError(f"{directory}/config.json: {short(error)}; correct it, or {AGAIN}")


def _nothing_there(source: str | os.PathLike[str], error: OSError) -> FileNotFoundError:
    reason = str(error).strip().partition("\n")[0]
    return FileNotFoundError(
        f"there is no model {os.fspath(source)}: no directory has this name, and no repository of the Hub with this "
        f"name could be read ({reason})"
    )


def _check_downloaded_files(source: Any, subfolder: str, where: dict[str, Any]) -> None:
    """Looks for the damaged file among the downloaded files of a repository; raises ValueError when it is found."""
    from transformers.utils import cached_file  # imported only after an error, because it takes time

    for name in (WEIGHTS, INDEX):
        found = cached_file(
            *(source, name),
            subfolder=subfolder,
            local_files_only=True,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_missing_entries=False,
            **{key: value for key, value in where.items() if key in ("cache_dir", "revision")},
        )
        if found is not None:
            check_model_files(Path(found).parent, "delete it, so that it is downloaded again")


def _is_damage(error: Exception) -> bool:
    """Whether an error can come from what the files say. The library `tokenizers` raises a bare Exception."""
    kinds = (AttributeError, LookupError, OverflowError, RuntimeError, TypeError)
    damaged = type(error) is Exception or isinstance(error, kinds)
    return damaged and not isinstance(error, NotImplementedError) and "out of memory" not in str(error)
