"""Random numbers that belong to a row, whichever process draws them, and in whichever batch."""

from collections.abc import Sequence

import numpy as np


def row_draws(seed: int, epoch: int, examples: Sequence[int], widths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Random numbers in [0, 1) for several rows, one row after the other: `widths` of each → (sum of widths,).

    The numbers of a row depend on (seed, epoch, example) alone, because the generator is counter-based (Philox;
    Salmon et al. 2011): its key is the seed and the epoch, and its counter begins at the number of the row.

    Args:
        examples: the numbers of the rows in their data, from 0.
        widths: how many numbers each row needs.
    """
    key = (seed, epoch)
    draws = [row_generator(key, example).random(width) for example, width in zip(examples, widths, strict=True)]
    return np.concatenate(draws) if draws else np.zeros(0)


def row_generator(key: tuple[int, int], example: int) -> np.random.Generator:
    """The generator of one row; `key` is (seed, epoch)."""
    # The generator counts in the first of the four words of the counter, so that rows never share numbers.
    return np.random.Generator(np.random.Philox(key=np.array(key, np.uint64), counter=np.array([0, 0, 0, example])))
