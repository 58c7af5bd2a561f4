"""Public encoder-decoders, in every shape that their models come in."""

from case import Case

CASES: list[Case] = []
