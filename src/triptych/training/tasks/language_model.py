"""What the tasks of language modelling have in common: documents, read at once or as a stream, cut to rows."""

import os
from collections.abc import Callable, Sequence, Sized
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from accelerate import Accelerator

from ...data.cache import mapped
from ...data.data_sets import files_of_directory
from ...data.file_rows import names
from ...data.formats.rows import typed
from ...data.quantities import counted
from ...data.readers import FileOptions
from ...data.sieve import told
from ...data.streams import check_text, read_all, stream_data_set, stream_files, stream_of_texts
from ..arguments import option
from ..data_options import TextOptions
from ..likelihoods import likelihoods, of_rows
from ..task import Task
from ..task_arguments import TaskArguments

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset

LONGEST = 1024  # tokens of a row, for a model that takes more, or any number
AT_ONCE = 1000  # documents that are tokenized, and packed, together


@dataclass(kw_only=True)
class DocumentArguments(TextOptions, TaskArguments):
    """
    Documents, and how they are cut to rows.

    Raises:
        ValueError: the data are a stream without a tokenizer, or a number is out of range.
    """

    documents: Literal["lines", "blank_lines"] = option(
        "lines", "Documents of plain text files: each line, or what stands between blank lines."
    )
    streaming: bool = option(
        False, "Read the training data as they are needed, again in each epoch. Needs --tokenizer, or --model."
    )
    shuffle_buffer: int = option(
        1000, "Documents of a stream that are in memory to draw the next one among them; 1 keeps their order."
    )
    block_size: int | None = option(
        None,
        f"Most tokens of a row. Longer documents are cut. By default what the model takes, but at most {LONGEST}.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "shuffle_buffer")
        self.check_at_least(2, "block_size")
        if self.streaming and not (self.tokenizer or self.model):
            raise ValueError("--streaming reads the data as they are needed, so no tokenizer is trained: name one "
                             "with --tokenizer, or a checkpoint with --model")  # fmt: skip

    def file_options(self) -> FileOptions:
        """Extends `DataOptions.file_options`: where a document ends."""
        return replace(super().file_options(), documents=self.documents)


class LanguageModelTask(Task):
    """
    Learns from documents without labels. A subclass says how documents become rows, and which labels these have.

    The test is exact for each document, which the losses of an evaluation do not tell apart. At evaluations there is
    only the loss, which needs no second pass over the data.
    """

    unit = "documents"
    predictions_file = "test_predictions.jsonl"

    arguments: DocumentArguments

    # ---- data ------------------------------------------------------------------------------------------------------

    def load_data(self, seed: int) -> tuple["DatasetDict", Sequence[str]]:
        """Extends `Task.load_data`: leaves out blank documents; the training data may be a stream."""
        if self.arguments.streaming:
            data = self.load_stream(seed)
            return data, self.hold_out(data, seed)
        data, counts = self.arguments.read_data()
        remarks = told(counts)
        for split, rows in data.items():
            data[split] = with_text(rows, split)
            if blank := len(rows) - len(data[split]):
                remarks.append(f"{split}: blank documents left out: {blank:,} of {len(rows):,}")
        return data, [*remarks, *self.hold_out(data, seed)]

    def load_stream(self, seed: int) -> Any:
        """Returns the training data as a stream, in a new order in each epoch, and the other splits read at once."""
        arguments, streams, paths = self.arguments, self.streams(), self.stream_paths()
        columns = typed(arguments.columns())
        for split, rows in streams.items():
            check_text(rows, ", ".join(paths.get(split, [f"{arguments.dataset_name}[{split}]"])))
        data = {s: with_text(read_all(streams[s], columns, s), s) for s in ("validation", "test") if s in streams}
        if "train" not in streams:
            return data
        train = streams["train"]
        if arguments.shuffle_buffer > 1:
            train = train.shuffle(seed, buffer_size=arguments.shuffle_buffer)
        return {"train": train, **data}

    def streams(self) -> dict[str, "IterableDataset"]:
        """Returns all splits as streams."""
        arguments = self.arguments
        columns, options, empty = typed(arguments.columns()), arguments.file_options(), arguments.empty
        if paths := self.stream_paths():
            return {split: stream_files(given, columns, options, empty) for split, given in paths.items()}
        loaded = stream_data_set(str(arguments.dataset_name), arguments.dataset_config_name)
        return {
            split: stream_of_texts(rows, columns, f"{arguments.dataset_name}[{split}]", empty)
            for split, rows in loaded.items()
        }

    def stream_paths(self) -> dict[str, list[str]]:
        """The files of each split, where the data are files."""
        arguments = self.arguments
        if arguments.dataset_name:
            return files_of_directory(arguments.dataset_name) if arguments.dataset_config_name is None else {}
        given = {split: getattr(arguments, f"{split}_file") for split in ("train", "validation", "test")}
        return {split: names(files) for split, files in given.items() if files is not None}

    @property
    def block_size(self) -> int:
        """The most tokens of a row.

        Raises:
            ValueError: the option is more than the model takes.
        """
        limit, given = self.config.position_limit, self.arguments.block_size
        if given is not None and limit is not None and given > limit:
            raise ValueError(
                f"block_size={given}: the model takes at most {counted(limit, 'tokens')}; give at most so many"
            )
        if self.arguments.max_tokens < 2:
            raise ValueError(f"max_tokens={self.arguments.max_tokens} must be at least 2: a token and the next one")
        return given or min(limit or LONGEST, LONGEST, self.arguments.max_tokens)

    # ---- the test --------------------------------------------------------------------------------------------------

    def evaluation_rows(self) -> "Dataset":
        """Extends `Task.evaluation_rows`: none; an evaluation computes the losses."""
        return self.data["validation"].select([])

    def test_rows(self, rows: "Dataset") -> "Dataset":
        """Returns the rows of test documents, each document for itself; `document` is the number of the document."""
        raise NotImplementedError(f"{type(self).__name__} has no method `test_rows`")

    def test_collator(self) -> Any:
        """Returns what makes the arguments of the model's `forward` of `test_rows`."""
        return self.collator()

    def predict(self, model: Any, rows: "Dataset", accelerator: Accelerator, final: bool) -> list[Any]:
        """Extends `Task.predict`: the loss of each document, the number of its labels, and how many are right."""
        pieces, batch_size = self.test_rows(rows), self.arguments.evaluation_batch_size
        found = likelihoods(model, pieces, self.test_collator(), batch_size, accelerator)
        owner = np.asarray(pieces["document"][:])
        return of_rows(*(np.bincount(owner, column, minlength=len(rows)) for column in found.T))

    def identity(self) -> dict[str, Any]:
        """Extends `Task.identity`: how rows are made, and what the stream is and how it is read."""
        arguments = self.arguments
        values: dict[str, Any] = {"data.block_size": self.block_size}
        if not arguments.streaming:
            return values
        paths = self.stream_paths().get("train", [])
        data_set: list[Any] = [arguments.dataset_name, arguments.dataset_config_name]
        return values | {
            "data.stream": [[os.path.basename(path), os.path.getsize(path)] for path in paths] or data_set,
            "data.reading": [arguments.text_column, arguments.empty, *asdict(arguments.file_options()).values()],
            "data.shuffle_buffer": arguments.shuffle_buffer,
        }


def in_batches(rows: Any, make: Callable[..., dict[str, list[Any]]], *depends_on: Any, numbered: bool = False) -> Any:
    """Returns the rows that `make` makes of documents, in batches; a stream is mapped while it is read.

    Args:
        depends_on: what decides the result besides the documents; see `mapped`. `make` must not refer to the task: the
            fingerprint of a function covers all that it refers to.
        numbered: whether `make` is also given the numbers of the documents.
    """
    options = {"batched": True, "batch_size": AT_ONCE, "remove_columns": ["text"], "with_indices": numbered}
    return mapped(rows, make, depends_on, **options) if isinstance(rows, Sized) else rows.map(make, **options)


def with_text(rows: "Dataset", split: str) -> "Dataset":
    """Returns the documents that are not blank.

    Raises:
        ValueError: there are none.
    """
    kept = rows.filter(lambda texts: [bool(text.strip()) for text in texts], input_columns=["text"], batched=True)
    if not len(kept):
        raise ValueError(f"{split} data: there is no text; all documents are blank")
    return kept
