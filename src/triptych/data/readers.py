"""The formats of files: the reader of each format, and the options of reading.

A reader yields the rows of one file. Its errors are ValueErrors that begin with the name of the file and the place. It
never takes a name as a pattern or an address, and it caches nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..configuration.fields import meant
from .formats.conll import read_conll, read_conllu
from .formats.delimited import read_delimited
from .formats.json_objects import read_json, read_jsonl
from .formats.lines import OPENERS
from .formats.parquet import read_parquet
from .formats.rows import Columns, Row
from .formats.squad import is_nested, read_squad
from .formats.text import read_text

CHOICES = {
    "quoting": ("standard", "none"),
    "surplus": ("error", "ignore"),
    "empty": ("error", "drop"),
    "documents": ("lines", "blank_lines"),
}


def check_choice(option: str, word: str) -> None:
    """Raises ValueError unless `word` is one of the words of this option."""
    if word not in CHOICES[option]:
        words = CHOICES[option]
        raise ValueError(f"{option}={word!r} is unknown{meant(word, words)}; choose from {', '.join(words)}")


@dataclass(frozen=True)
class FileOptions:
    """Options of reading files, where the defaults of a format are not right; docs/data.md describes each option.

    Raises:
        ValueError: a word is unknown; the delimiter is not one character; `column_names` is empty or repeats a name.
    """

    file_format: str | None = None
    column_names: tuple[str, ...] | None = None
    delimiter: str | None = None
    quoting: str = "standard"
    surplus: str = "error"
    documents: str = "lines"

    def __post_init__(self) -> None:
        check_choice("quoting", self.quoting)
        check_choice("surplus", self.surplus)
        check_choice("documents", self.documents)
        if self.file_format is not None and self.file_format not in FORMATS:
            raise ValueError(
                f"file_format={self.file_format!r} is unknown{meant(self.file_format, FORMATS)}; choose from "
                f"{', '.join(FORMATS)}"
            )
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ValueError(
                f"delimiter={self.delimiter!r} must be one character, and neither a quotation mark nor a line end"
            )
        if self.column_names is not None and (
            not self.column_names or len(set(self.column_names)) < len(self.column_names)
        ):
            raise ValueError(f"column_names={list(self.column_names)} must be names of columns, each of them once")

    def tabular(self) -> list[str]:
        """The names of the given options that only tsv and csv files have."""
        return [
            name
            for name in ("column_names", "delimiter", "quoting", "surplus")
            if getattr(self, name) != getattr(FileOptions, name)
        ]


FORMATS: dict[str, Callable[[str, Columns, FileOptions], Iterator[Row]]] = {
    "tsv": partial(read_delimited, delimiter="\t"),
    "csv": partial(read_delimited, delimiter=","),
    "jsonl": read_jsonl,
    "json": read_json,
    "parquet": read_parquet,
    "conll": read_conll,
    "conllu": read_conllu,
    "squad": read_squad,
    "text": read_text,
}
"""The reader of each format, by the word for it. Except for text and squad, the word is also the end of a name."""


def file_format(path: str, options: FileOptions) -> str:
    """The format of a file: the given one, or the one that its name says (`pairs.tsv`, `pairs.TSV.gz`), or text.

    A file whose name says `json` is looked into: the articles of SQuAD are a format of their own.
    """
    name = Path(path).name.lower()
    for compression in OPENERS:
        name = name.removesuffix(compression)
    word = options.file_format or Path(name).suffix[1:]
    if word == "parquet" and name != Path(path).name.lower():
        raise ValueError(f"{path}: parquet compresses its columns by itself; uncompress the file")
    if word == "json" and options.file_format is None and Path(path).is_file() and is_nested(path):
        return "squad"
    return word if word in FORMATS and (word != "squad" or options.file_format) else "text"


def check_file(path: str) -> None:
    """Raises FileNotFoundError if there is no such file, and ValueError if it is empty."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not a file" if Path(path).exists() else f"{path} does not exist")
    if Path(path).stat().st_size == 0:
        raise ValueError(f"{path} is empty; it must hold rows of text")
