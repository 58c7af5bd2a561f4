"""Sentences that are their own translation: how a small model learns to copy."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset


def add_copies(pairs: "Dataset", part: float, seed: int = 0) -> "Dataset":
    """Adds pairs with a target on both sides: names and numbers are copied (Currey et al. 2017, section 3).

    Args:
        pairs: rows with `source` and `target`.
        part: of the targets, drawn without replacement, that are added; in [0, 1].
        seed: of the draw.

    Raises:
        ValueError: `part` outside [0, 1].
    """
    from datasets import Dataset, concatenate_datasets

    if not 0 <= part <= 1:
        raise ValueError(f"the part of the targets that is copied must be in [0, 1], got {part}")
    rows = np.random.default_rng(seed).permutation(len(pairs))[: round(part * len(pairs))]
    if not len(rows):
        return pairs
    targets = pairs.select(rows)["target"][:]
    copies = Dataset.from_dict({"source": targets, "target": targets}, features=pairs.features)
    return concatenate_datasets([pairs, copies])
