"""Classes that `datasets` keeps as numbers (`ClassLabel`), under the names that it keeps beside them."""

from collections.abc import Callable, Mapping
from typing import Any

NO_CLASS = -1  # the number with which data sets mark a row whose label is kept secret


def class_names(features: Mapping[str, Any] | None, column: str) -> Callable[[Any], Any]:
    """What turns a value of this column into names, if it holds classes or lists of classes; others stay as they are.

    A class of -1 becomes None.

    Args:
        features: those of `datasets`; None: there are none.
        column: a dot in it reaches into a nested column.
    """
    feature: Any = features or {}
    for key in [column] if column in feature else column.split("."):
        feature = feature.get(key) if isinstance(feature, Mapping) else None
    names = getattr(feature, "names", None)
    of_items = getattr(getattr(feature, "feature", None), "names", None)

    def named(number: int | None) -> str | None:
        return None if number is None or number == NO_CLASS else (names or of_items or [])[number]

    if names:
        return named
    if of_items:
        return lambda numbers: None if numbers is None else [named(number) for number in numbers]
    return lambda value: value
