"""From the bytes of a file, compressed or not, to its lines of text."""

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

NEWLINE = b"\n"
BLOCK = 1 << 20  # the number of bytes that are decoded at a time


def open_zst(path: str, mode: str) -> IO[bytes]:
    """Opens a zstd file for reading bytes."""
    import io

    import pyarrow as pa

    file: IO[bytes] = io.BufferedReader(pa.CompressedInputStream(pa.OSFile(path), "zstd"))
    return file


OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": open_zst}


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The uncompressed bytes of a file; raises ValueError if the compressed data are damaged or cut off."""
    suffix = Path(path).suffix.lower()
    try:
        with OPENERS.get(suffix, open)(path, "rb") as file:
            yield file
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's error, e.g. a missing permission
            raise
        raise ValueError(f"{path}: the {suffix[1:]} data are damaged or cut off ({error})") from error


def decoded(raw: bytes, path: str, first_line: int = 1) -> str:
    """The text of bytes; raises ValueError with the line of the first byte that is not UTF-8, or that is NUL."""
    if first_line == 1:
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError(f"{path}: line 1: the file is in UTF-16; convert it to UTF-8")
        raw = raw.removeprefix(codecs.BOM_UTF8)
    if (zero := raw.find(b"\0")) >= 0:
        raise ValueError(
            f"{path}: line {first_line + raw.count(NEWLINE, 0, zero)} holds a NUL character; this is not text"
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + raw.count(NEWLINE, 0, error.start)
        raise ValueError(
            f"{path}: line {line} is not UTF-8 (byte 0x{raw[error.start]:02x}: {error.reason}); convert the file"
        ) from None


def text_lines(path: str) -> Iterator[tuple[int, str]]:
    r"""The number and the text of each line. Only \n ends a line, not a lone \r and not U+2028; see `content`."""
    number = 1
    with opened(path) as file:
        while block := file.read(BLOCK) + file.readline():
            lines = decoded(block, path, number).removesuffix("\n").split("\n")
            yield from enumerate(lines, number)
            number += len(lines)


def content(line: str) -> str:
    r"""A line without the \r that belongs to its end."""
    return line.removesuffix("\r")
