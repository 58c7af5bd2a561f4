"""The options that say which data a script reads, and how; docs/data.md describes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..data.arrow import wanted_columns
from ..data.corpus import load_corpus
from ..data.file_rows import Files, check_options
from ..data.formats.kinds import Column
from ..data.pairs import read_splits
from ..data.readers import FileOptions
from ..data.sieve import Counts
from .arguments import option

if TYPE_CHECKING:
    from datasets import DatasetDict


def several(help: str) -> dict[str, Any]:
    """Metadata of an option with several values, which may also be given several times."""
    return {"help": help, "action": "extend"}


@dataclass(kw_only=True)
class DataOptions:
    """
    The source of the data, and how files are read that differ from what their format says.

    A subclass says which columns a row has: `PairOptions`, `TextOptions`.
    """

    dataset_name: str | None = option(None, "Instead of files: a data set of the Hub, or a directory with files.")
    dataset_config_name: str | None = option(None, "Configuration of the data set.")
    file_format: Literal["tsv", "csv", "jsonl", "json", "parquet", "conll", "conllu", "squad", "text"] | None = option(
        None, "Format of the files, where their names do not say it."
    )
    column_names: list[str] | None = field(
        default=None,
        metadata=several(
            "Names of all columns, for tsv and csv files without a header, and for conll files: source target licence."
        ),
    )
    delimiter: str | None = option(None, "Character between the fields of tsv and csv files, such as ';' or '\\t'.")
    quoting: Literal["standard", "none"] = option(
        "standard",
        "Quotation marks in tsv and csv files: standard, as pandas writes them; none: they are ordinary characters.",
    )
    surplus: Literal["error", "ignore"] = option(
        "error", "What to do with fields of tsv and csv files that are beyond the header's."
    )
    empty: Literal["error", "drop"] = option("error", "What to do with rows that lack a text.")

    def columns(self) -> dict[str, Column | str]:
        """Returns option → column, for each column of a row; the option ends in `_column`.

        A name alone is a column of texts; a `Column` says what it holds, by a key of
        `triptych.data.formats.kinds.KINDS`. No two options may name the same column.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say which columns its rows have")

    def read(self, files: Mapping[str, Files | None]) -> tuple["DatasetDict", dict[str, Counts]]:
        """Reads the splits that `files` (split → files) or `dataset_name` name, and counts their rows.

        A column of the result is called like its option, without `_column`.

        Raises:
            FileNotFoundError, ValueError: as `triptych.data.load_pairs`.
        """
        options, config = self.file_options(), self.dataset_config_name
        return read_splits(files, self.columns(), options, self.dataset_name, config, self.empty, self.fault)

    def fault(self, row: dict[str, Any]) -> str | None:
        """Says what is wrong with a row, as the end of a message that names file and line; None: nothing is.

        Args:
            row: name of a column of the result of `read` → value.
        """
        return None

    def file_options(self) -> FileOptions:
        """Returns how files are read."""
        delimiter = "\t" if self.delimiter == "\\t" else self.delimiter
        names = None if self.column_names is None else tuple(self.column_names)
        return FileOptions(self.file_format, names, delimiter, self.quoting, self.surplus)


@dataclass(kw_only=True)
class PairOptions(DataOptions):
    """Rows with a source and a target."""

    source_column: str = option("source", "Column of the sentences to translate.")
    target_column: str = option("target", "Column of their translations.")

    def columns(self) -> dict[str, Column | str]:
        """Extends `DataOptions.columns`."""
        return {"source_column": self.source_column, "target_column": self.target_column}

    def read_corpus(self, name: str) -> "DatasetDict":
        """Reads a corpus that ships with the package; source_column=target, target_column=source turn it round.

        Raises:
            ValueError: there is no such corpus or column, or options are given that are about files.
        """
        check_options({}, self.file_options())
        splits, columns = load_corpus(name), self.columns()
        for split, rows in splits.items():
            splits[split] = wanted_columns(rows, columns, f"{name}[{split}]")
        return splits


@dataclass(kw_only=True)
class TextOptions(DataOptions):
    """Rows with one text."""

    text_column: str = option("text", "Column of the texts.")

    def columns(self) -> dict[str, Column | str]:
        """Extends `DataOptions.columns`."""
        return {"text_column": self.text_column}


@dataclass(kw_only=True)
class TaggedOptions(DataOptions):
    """Sentences: a list of words and a list of their tags."""

    tokens_column: str = option(
        "tokens", "Column of the words: a name; in CoNLL files a number, from 1 (by default the first, or form)."
    )
    tags_column: str = option(
        "tags",
        "Column of the tags: a name; in CoNLL files a number, or upos, xpos, … (by default the last, or upos).",
        aliases=["--tag_column"],
    )

    def columns(self) -> dict[str, Column | str]:
        """Extends `DataOptions.columns`."""
        return {
            "tokens_column": Column(self.tokens_column, "texts"),
            "tags_column": Column(self.tags_column, "names"),
        }

    def fault(self, row: dict[str, Any]) -> str | None:
        """Extends `DataOptions.fault`: every word has a tag, and is not blank."""
        tokens, tags = row["tokens"], row["tags"]
        if len(tokens) != len(tags):
            return f"{len(tokens)} words, but {len(tags)} tags"
        blank = next((number for number, token in enumerate(tokens, start=1) if not token.strip()), None)
        return f"word {blank} is blank" if blank else None
