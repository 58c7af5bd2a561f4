"""How many tokens training data have, about, before there is a tokenizer: by the bytes of their texts."""

from collections.abc import Sequence, Sized
from typing import Any

from .table import table

CHUNK = 10_000  # the number of rows that are in memory at a time


def estimated_tokens(rows: Any, columns: Sequence[str], tokenizer_model: str = "bpe") -> int | None:
    """Returns the tokens of all texts, with an end token for each; None for a stream, whose length nobody knows.

    Args:
        rows: a `datasets.Dataset`, or a stream.
        columns: the columns with the texts; a column can also hold lists of texts.
        tokenizer_model: the kind of tokenizer that is trained or used.
    """
    if not isinstance(rows, Sized):
        return None
    known: dict[str, float] = table()["bytes of a token"]
    there = [column for column in columns if column in rows.column_names]  # type: ignore[attr-defined]
    return round(number_of_bytes(rows, there) / known[tokenizer_model]) + len(rows) * len(there)


def number_of_bytes(rows: Any, columns: Sequence[str]) -> int:
    """Returns the bytes of the texts in UTF-8, read a chunk at a time; what is no text counts nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    total = 0
    if not columns:
        return total
    for chunk in rows.select_columns(list(columns)).with_format("arrow").iter(batch_size=CHUNK):
        for column in columns:
            values = chunk[column]
            while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
                values = pc.list_flatten(values)
            if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
                total += pc.sum(pc.binary_length(values)).as_py() or 0
    return total
