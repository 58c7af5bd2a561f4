"""Which tokens of a batch are masked: single tokens, whole words or spans of words. Array operations over the batch.

Shapes: N tokens that may be masked, of all rows one behind the other; W words; R rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GEOMETRIC, LONGEST = 0.2, 10  # the parameter of the distribution of the lengths of spans, and the greatest length
# The chance that a span has at most 1, 2, … words: a geometric distribution, cut off at the greatest length.
SPAN_LENGTHS = np.cumsum(GEOMETRIC * (1 - GEOMETRIC) ** np.arange(LONGEST))
SPAN_LENGTHS /= SPAN_LENGTHS[-1]


@dataclass(frozen=True)
class Tokens:
    """The tokens of a batch that may be masked, in their order, and the words that they make up.

    Attributes:
        row: the row of each token, (N,); it never falls.
        word: the word of each token, (N,), counted from 0 over all rows.
        first: the first token of each word, (W,).
    """

    row: np.ndarray
    word: np.ndarray
    first: np.ndarray


@dataclass(frozen=True)
class Units:
    """What is masked as a whole: tokens, words or spans, in the random order in which they are taken.

    Attributes:
        of_token: the number of the unit of each token, (N,). The units of a row have numbers below those of the next.
        decides: the token whose random number says what becomes of each token, (N,): itself, or one for all its span.
    """

    of_token: np.ndarray
    decides: np.ndarray


def in_random_order(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sorts things, given a random number and the row of each, at random within their rows: the order, (things,)."""
    return np.lexsort((keys, rows))


def words_as_units(tokens: Tokens, keys: np.ndarray, lengths: np.ndarray) -> Units:
    """Every word is a unit. What becomes of its tokens is drawn for each of them (as in BERT)."""
    order = in_random_order(keys[tokens.first], tokens.row[tokens.first])
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return Units(place[tokens.word], np.arange(len(tokens.row)))


def spans_as_units(tokens: Tokens, keys: np.ndarray, lengths: np.ndarray) -> Units:
    """Every word begins a span of 1 to 10 words (Joshi et al. 2020, section 3.1): SpanBERT's units.

    The spans are taken in a random order; one that reaches into earlier ones adds its other words only, and the end
    of the row cuts it. What becomes of the tokens of a span is drawn once for all of them.

    Args:
        lengths: (N,) random numbers in [0, 1), which decide the lengths.
    """
    row_of_word = tokens.row[tokens.first]
    order = in_random_order(keys[tokens.first], row_of_word)  # the first word of each span
    size = 1 + np.searchsorted(SPAN_LENGTHS, lengths[tokens.first[order]], side="right")
    size = np.minimum(size, np.searchsorted(row_of_word, row_of_word[order], side="right") - order)
    span = np.repeat(np.arange(len(order)), size)  # each span as often as it has words
    within = np.arange(len(span)) - np.repeat(np.cumsum(size) - size, size)
    covered = order[span] + within
    unit_of_word = np.empty_like(order)
    unit_of_word[covered[::-1]] = span[::-1]  # a word belongs to the first span that covers it: the last one written
    of_token = unit_of_word[tokens.word]
    return Units(of_token, tokens.first[order][of_token])


UNITS: dict[str, Callable[[Tokens, np.ndarray, np.ndarray], Units]] = {
    "token": words_as_units,  # with every token as a word of its own
    "word": words_as_units,
    "span": spans_as_units,
}


def tokens_of(rows: np.ndarray, is_first: np.ndarray) -> Tokens:
    """`Tokens` of the row of each token (N,), and of whether it begins a word (N,) of bools."""
    word = np.cumsum(is_first) - 1
    return Tokens(rows, word, np.flatnonzero(is_first))


def chosen(tokens: Tokens, units: Units, part: float, chances: np.ndarray) -> np.ndarray:
    """Takes units, in their order, until they hold `part` of the tokens of their row: (N,) of bools.

    The unit that goes beyond this number is taken with the chance that makes the mean number exact: the part of it
    that fits. So in rows of any length, and with whole words, `part` of all tokens are chosen on average.

    Args:
        chances: (R,) a random number in [0, 1) for each row.
    """
    sizes = np.bincount(units.of_token, minlength=len(tokens.first))
    row_of_unit = tokens.row[tokens.first]  # a row has as many units as words, and both are counted row by row
    before = np.cumsum(sizes) - sizes
    before -= before[np.searchsorted(row_of_unit, row_of_unit)]
    budget = part * np.bincount(tokens.row, minlength=len(chances))
    taken = before + chances[row_of_unit] * sizes < budget[row_of_unit]
    return taken[units.of_token]
