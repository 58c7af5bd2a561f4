"""Patterns of attention over the layers of a stack."""

from typing import Any


def shortest_pattern(kinds: list[Any]) -> list[Any] | None:
    """The shortest `attention_pattern` that gives each layer its kind, "full" or the width of a band.

    None: all layers are full.
    """
    periods = range(1, len(kinds) + 1)
    period = next(p for p in periods if all(kind == kinds[i % p] for i, kind in enumerate(kinds)))
    return None if kinds[:period] == ["full"] else kinds[:period]
