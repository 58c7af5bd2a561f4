"""The outputs for inputs that stream."""

from collections.abc import Iterable, Iterator
from typing import Any


class Outputs(Iterator[list[dict[str, Any]]]):
    """The outputs for a generator or a data set, one at a time; it has a length where the inputs have one.

    What transformers returns has no `next()` before `iter()`, and each `iter()` begins from the start.
    """

    def __init__(self, outputs: Iterable[list[dict[str, Any]]], length: int | None = None) -> None:
        self._length, self._iterator = length, iter(outputs)

    def __next__(self) -> list[dict[str, Any]]:
        return next(self._iterator)

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("the number of outputs is not known")
        return self._length
