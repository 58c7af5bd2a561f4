"""Reading a file, so that the error for a damaged file names the file, the reason and the remedy."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from .regular import may_be_opened

AGAIN = "copy or download it again"
"""The remedy for a damaged file, where a caller knows no better one."""


@contextmanager
def reading(path: str | Path, remedy: str = AGAIN) -> Iterator[None]:
    """Adds the name of the file to an error that its content causes inside the block.

    Raises:
        ValueError: the content of the file caused an error; the message names the file, the reason and the remedy.
        FileNotFoundError: the file is missing; the message names the file and the remedy.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing; {remedy}") from error
    except OSError:  # its message already names the file
        raise
    except (
        *(ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, OverflowError, RecursionError),
        *(MemoryError, SafetensorError),
    ) as error:
        reason = str(error) if isinstance(error, ValueError | RuntimeError | SafetensorError) else repr(error)
        raise ValueError(f"{path} is damaged ({reason}); {remedy}") from error


def read_json(path: Path, remedy: str = AGAIN) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: the file is not valid JSON, gives a name twice in one object, or may not be opened (see
            `may_be_opened`); the message names the file and the remedy.
        FileNotFoundError: the file is missing.
    """
    may_be_opened(path)
    with reading(path, remedy):
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these names and values. One reader takes the first of two values, and another takes the last."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"it gives {counts.most_common(1)[0][0]!r:.80} twice")
    return fields


def read_object(path: Path, remedy: str = AGAIN) -> dict[str, Any]:
    """The content of a JSON file that must hold an object.

    Raises:
        ValueError: the file holds something else; the message names the file and the remedy.
        FileNotFoundError: the file is missing.
    """
    value = read_json(path, remedy)
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged (it holds {type(value).__name__}, not an object); {remedy}")
    return value


def check_tensors(path: Path, remedy: str = AGAIN) -> int:
    """Reads the header of a safetensors file, which says how long the file must be. The tensors are not read.

    Returns:
        The number of tensors.

    Raises:
        ValueError: the file is cut off, it is not a safetensors file, or it may not be opened (see `may_be_opened`).
        FileNotFoundError: the file is missing.
    """
    may_be_opened(path)
    with reading(path, remedy), safe_open(path, framework="pt") as tensors:
        return len(tensors.keys())
