"""Tables of sinusoids that architectures keep among their weights or buffers, though they could be computed.

transformers computes with the numbers that it finds. Where they are the sinusoids, so does a Triptych model with
sinusoidal positions, of any length; where they are others, the positions were trained, and are learned.
"""

import torch
from torch import Tensor

from ..modeling.positions import SINUSOIDS


def are_sinusoids(table: Tensor, layout: str, empty_row: int | None = None) -> bool:
    """Whether a table (positions, width) holds the sinusoids of a layout, up to rounding.

    Args:
        empty_row: one that may be zeros, as that of the padding is in fairseq's.
    """
    angles, arrange = SINUSOIDS[layout]
    rows = torch.arange(len(table), device=table.device)
    error = (arrange(angles(rows, table.shape[1])).double() - table.double()).abs()
    if empty_row is not None and not table[empty_row].any():
        error[empty_row] = 0
    # The angle itself is rounded where it is computed in single precision, and it grows with the position.
    rounding = 2 * torch.finfo(table.dtype).eps + 4 * torch.finfo(torch.float32).eps * rows.double()[:, None]
    return bool((error <= rounding).all())
