"""Adding pairs whose translation is the sentence itself, from which a small model learns to copy."""

from typing import TYPE_CHECKING

import numpy as np

from .arrow import CHUNK, write_rows
from .formats.rows import typed

if TYPE_CHECKING:
    from datasets import Dataset


def add_copies(pairs: "Dataset", part: float, seed: int = 0) -> "Dataset":
    """Adds pairs that have a target on both sides, so that a model copies names and numbers.

    Source: Currey et al. 2017, section 3.

    Args:
        pairs: rows with `source` and `target`.
        part: the part of the targets that is added, in [0, 1]; they are drawn without replacement.
        seed: the seed of the draw.

    Raises:
        ValueError: `part` is outside [0, 1].
    """
    from datasets import concatenate_datasets

    if not 0 <= part <= 1:
        raise ValueError(f"the part of the targets that is copied must be in [0, 1], got {part}")
    rows = np.random.default_rng(seed).permutation(len(pairs))[: round(part * len(pairs))]
    if not len(rows):
        return pairs
    chunks = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    copies = ((target, target) for chunk in chunks for target in pairs[chunk.tolist()]["target"])
    written = write_rows(copies, typed({"source": "source", "target": "target"}), "train")
    return concatenate_datasets([pairs, written.cast(pairs.features)])
