"""The options that say which texts a script reads, and how; docs/data.md describes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..data.arrow import text_columns
from ..data.corpus import load_corpus
from ..data.file_rows import Files, check_options
from ..data.pairs import read_splits
from ..data.readers import FileOptions
from ..data.sieve import Counts
from .arguments import option

if TYPE_CHECKING:
    from datasets import DatasetDict


def several(help: str) -> dict[str, Any]:
    """Metadata of an option with several values, which may also be given several times."""
    return {"help": help, "action": "extend"}


@dataclass
class DataOptions:
    """Where the columns stand, and how files are read that are not as their format has them."""

    dataset_name: str | None = option(None, "Instead of files: a data set of the Hub, or a directory with files.")
    dataset_config_name: str | None = option(None, "Configuration of the data set.")
    source_column: str = option("source", "Column of the sentences to translate.")
    target_column: str = option("target", "Column of their translations.")
    file_format: Literal["tsv", "csv", "jsonl", "json", "parquet", "text"] | None = option(
        None, "Format of the files, where their names do not say it."
    )
    column_names: list[str] | None = field(
        default=None,
        metadata=several(
            "Names of all columns, for tsv and csv files without a header, such as: source target licence."
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
    empty: Literal["error", "drop"] = option("error", "What to do with rows that have no text on one of their sides.")

    def read(
        self, files: Mapping[str, Files | None], text_column: str | None = None
    ) -> tuple["DatasetDict", dict[str, Counts]]:
        """The splits that `files` (split → files) or `dataset_name` name, and the numbers of their rows.

        The columns are `source` and `target`; with a `text_column`, that one, as `text`.

        Raises:
            FileNotFoundError, ValueError: as `triptych.data.load_pairs`.
        """
        columns = {"text_column": text_column} if text_column else self.columns()
        options, config = self.file_options(), self.dataset_config_name
        return read_splits(files, columns, options, self.dataset_name, config, self.empty)

    def read_corpus(self, name: str) -> "DatasetDict":
        """A corpus that ships with the package; source_column=target, target_column=source turn it round.

        Raises:
            ValueError: no such corpus or column, or options that are about files.
        """
        check_options({}, self.file_options())
        splits, columns = load_corpus(name), self.columns()
        for split, rows in splits.items():
            splits[split] = text_columns(rows, columns, f"{name}[{split}]")
        return splits

    def columns(self) -> dict[str, str]:
        """Option → column, of the two sides of a pair."""
        if self.source_column == self.target_column:
            raise ValueError(
                f"source_column and target_column are both {self.source_column!r}; a pair needs two columns"
            )
        return {"source_column": self.source_column, "target_column": self.target_column}

    def file_options(self) -> FileOptions:
        delimiter = "\t" if self.delimiter == "\\t" else self.delimiter
        names = None if self.column_names is None else tuple(self.column_names)
        return FileOptions(self.file_format, names, delimiter, self.quoting, self.surplus)
