"""What the tasks of language modelling have in common: documents, read at once or as a stream, cut to rows."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from accelerate import Accelerator

from ...data.data_sets import files_of_directory
from ...data.file_rows import names
from ...data.formats.rows import typed
from ...data.readers import FileOptions
from ...data.streams import read_all, stream_data_set, stream_files, stream_of_texts
from ..arguments import option
from ..data_options import TextOptions
from ..likelihoods import likelihoods, of_rows
from ..task import Task
from ..task_arguments import TaskArguments

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

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
    shuffle_buffer: int = option(1000, "Documents of a stream among which the next one is drawn; 1 keeps the order.")
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
        data, remarks = super().load_data(seed)
        remarks = list(remarks)
        for split, rows in data.items():
            data[split] = rows.filter(has_text, input_columns=["text"], batched=True)
            if not len(data[split]):
                raise ValueError(f"{split} data: there is no text; all documents are blank")
            if blank := len(rows) - len(data[split]):
                remarks.append(f"{split}: blank documents left out: {blank:,} of {len(rows):,}")
        return data, remarks

    def load_stream(self, seed: int) -> Any:
        """The training data as a stream, in a new order in each epoch, and the other splits read as usual."""
        arguments = self.arguments
        columns, options, empty = typed(arguments.columns()), arguments.file_options(), arguments.empty
        data: dict[str, Any] = {}
        if paths := self.stream_paths():
            data["train"] = stream_files(paths["train"], columns, options, empty)
            for split in paths.keys() - {"train"}:
                data[split] = read_all(stream_files(paths[split], columns, options, empty), columns, split)
        else:
            loaded = stream_data_set(str(arguments.dataset_name), arguments.dataset_config_name)
            for split in loaded.keys() & {"train", "validation", "test"}:
                rows = stream_of_texts(loaded[split], columns, f"{arguments.dataset_name}[{split}]", empty)
                data[split] = rows if split == "train" else read_all(rows, columns, split)
        if "train" in data and arguments.shuffle_buffer > 1:
            data["train"] = data["train"].shuffle(seed, buffer_size=arguments.shuffle_buffer)
        return {split: data[split] for split in ("train", "validation", "test") if split in data}

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
            raise ValueError(f"block_size={given}: the model takes at most {limit} tokens; give at most so many")
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
        """Extends `Task.identity`: how rows are made, and what the stream is."""
        arguments = self.arguments
        stream = {}
        if arguments.streaming:
            files = [[os.path.basename(path), os.path.getsize(path)] for path in self.stream_paths().get("train", [])]
            named = [arguments.dataset_name, arguments.dataset_config_name]
            stream = {"data.stream": files or named, "data.shuffle_buffer": arguments.shuffle_buffer}
        return {"data.block_size": self.block_size} | stream


def has_text(texts: list[str]) -> list[bool]:
    """Says of each text whether it is more than white space."""
    return [bool(text.strip()) for text in texts]
