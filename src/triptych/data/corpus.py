"""The small corpora that ship with the package (licences: corpora/NOTICE)."""

from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from .formats.kinds import Column
from .readers import FORMATS, FileOptions

if TYPE_CHECKING:
    from datasets import DatasetDict

SPLITS = ("train", "validation", "test")


def available_corpora() -> list[str]:
    """The names of the corpora that `load_corpus` can load."""
    suffix = f".{SPLITS[0]}.tsv.xz"
    names = (path.name for path in (files(__package__) / "corpora").iterdir())
    return sorted(name.removesuffix(suffix) for name in names if name.endswith(suffix))


def load_corpus(name: str = "en-de") -> "DatasetDict":
    """Loads a shipped corpus: splits train, validation and test with the columns `source` and `target`.

    `en-de` holds about 32,000 English-German pairs of up to 12 words: interface texts of Home Assistant and everyday
    sentences of a language course. No source or target of a held-out pair occurs in training, and whole components
    and lessons are held out, so the test measures translation and not memory. Nothing is downloaded or cached.

    Raises:
        ValueError: there is no corpus of this name.
    """
    from datasets import Dataset, DatasetDict, NamedSplit

    known = available_corpora()
    if name not in known:
        raise ValueError(f"there is no corpus {name!r}; the package ships {', '.join(known)}")
    splits = {}
    for split in SPLITS:
        columns = {"source_column": Column("source"), "target_column": Column("target")}
        with as_file(files(__package__) / "corpora" / f"{name}.{split}.tsv.xz") as path:
            sources, targets = zip(
                *(pair for _, pair in FORMATS["tsv"](str(path), columns, FileOptions())), strict=True
            )
        splits[split] = Dataset.from_dict({"source": sources, "target": targets}, split=NamedSplit(split))
    return DatasetDict(splits)
