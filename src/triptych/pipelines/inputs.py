"""Checking and unifying the inputs of a text-to-text pipeline."""

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

from torch.utils.data import Dataset

# The methods by which columns of texts become lists: those of numpy and pandas, of pyarrow, and of polars.
_TO_LIST = ("tolist", "to_pylist", "to_list")


def as_texts(inputs: Any, task: str) -> Any:
    """`inputs` as one string, as a list of strings, or as a torch data set or a generator, whose items stream.

    Lists, tuples, arrays of numpy, and columns of pandas, pyarrow, polars and `datasets` become lists.

    Raises:
        TypeError: the inputs are none of these, or a list holds something that is not a string.
    """
    if isinstance(inputs, str | Dataset):
        return inputs
    if hasattr(inputs, "columns") or hasattr(inputs, "column_names"):
        raise TypeError(f"the {task} pipeline takes texts, not a whole {type(inputs).__name__}: pass one column of it")
    to_list = next((getattr(inputs, name) for name in _TO_LIST if hasattr(inputs, name)), None)
    if to_list is not None:
        inputs = to_list()
    if isinstance(inputs, str):  # it was an array without dimensions
        return inputs
    if isinstance(inputs, bytes | bytearray | Mapping | set | frozenset) or not isinstance(inputs, Iterable):
        raise TypeError(f"the {task} pipeline takes strings, lists or iterators of them, not {inputs!r}")
    if isinstance(inputs, Iterator) or not isinstance(inputs, Sized):
        return (text for text in inputs)
    texts = list(inputs)
    wrong = next((row for row, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise TypeError(f"the {task} pipeline takes strings, not {texts[wrong]!r}, which is item {wrong} of the list")
    return texts
