"""What is computed of rows, kept on the disk under a name that says all that it depends on: a later run finds it.

The name is made of the content of the rows, of what is done with them, and of the code that does it: the source of
this package and the versions of the libraries. So a file that is found is the right one, wherever the rows come from,
and nothing has to be cleared by hand after a change. Rows are read and written in parts, never all at once.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arrow import CHUNK

if TYPE_CHECKING:
    from datasets import Dataset

LIBRARIES = ("datasets", "tokenizers", "transformers")
_directory: ContextVar[Path | None] = ContextVar("directory of kept results", default=None)


@contextmanager
def keeping(directory: str | Path | None) -> Iterator[None]:
    """Inside, `mapped` keeps its results in a directory; None: it keeps none."""
    token = _directory.set(None if directory is None else Path(directory))
    try:
        yield
    finally:
        _directory.reset(token)


def default_directory() -> Path:
    """Returns where results are kept by default: in the cache of `datasets` (HF_DATASETS_CACHE)."""
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "triptych"


def mapped(rows: "Dataset", function: Callable[..., Any], depends_on: Any, **options: Any) -> "Dataset":
    """Returns `rows.map(function, **options)`; inside of `keeping`, from the disk where an earlier run has kept it.

    Of several processes that need the same, one computes it, and the others wait for it.

    Args:
        depends_on: everything besides the rows and the code of this package that decides the result, such as a
            tokenizer: objects that `datasets` can hash.
    """
    from datasets.fingerprint import Hasher
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    directory = _directory.get()
    if directory is None:
        return rows.map(function, **options)
    words = [fingerprint_of_rows(rows), Hasher.hash(depends_on), fingerprint_of_code(), *map(version, LIBRARIES)]
    directory.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(" ".join(words).encode()).hexdigest()[:32]
    # `datasets` publishes a whole file by renaming it. The lock goes with a process that is killed.
    with WeakFileLock(directory / f"{name}.lock"):
        return rows.map(function, cache_file_name=str(directory / f"{name}.arrow"), new_fingerprint=name, **options)


def fingerprint_of_rows(rows: "Dataset") -> str:
    """Returns a word that is the same for rows with the same columns and the same values in the same order."""
    import pyarrow as pa

    digest = hashlib.sha256(repr(sorted(rows.column_names)).encode())
    for table in rows.with_format("arrow").iter(batch_size=CHUNK):
        # What the values are stored in may differ: in how many parts, with 32-bit or with 64-bit positions.
        columns = [long_strings(table[name].combine_chunks()) for name in sorted(table.column_names)]
        batch = pa.record_batch(columns, names=sorted(table.column_names))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        digest.update(sink.getvalue())
    return digest.hexdigest()[:16]


def long_strings(column: Any) -> Any:
    """Returns a column of texts with 64-bit positions, and any other column as it is."""
    import pyarrow as pa

    return column.cast(pa.large_string()) if pa.types.is_string(column.type) else column


@cache
def fingerprint_of_code() -> str:
    """Returns a word that is the same for the same source files of this package."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
