"""The most tokens of a row that a model is trained on."""

from typing import Any

from ..conversion.limits import position_limit


def longest_row(config: Any, given: int | None = None) -> int | None:
    """Returns the most tokens of a row, by the positions of the model and by an option; None: any number.

    An encoder–decoder that classifies reads the row on both sides.
    """
    limits = (position_limit(config, "encoder"), position_limit(config, "decoder"), given)
    return min((limit for limit in limits if limit is not None), default=None)
