"""Recognising tables of sinusoids, which transformers keeps among the weights or buffers of some architectures.

transformers uses the numbers that it finds in the table. If they are the sinusoids, the Triptych model has sinusoidal
positions, which it computes for any length. If they are other numbers, the positions were trained, so they are
learned.
"""

import torch
from torch import Tensor

from ..modeling.positions import SINUSOIDS


def are_sinusoids(table: Tensor, layout: str, empty_row: int | None = None) -> bool:
    """Whether a table of shape (positions, width) holds the sinusoids of a layout, up to rounding.

    Args:
        layout: a key of `SINUSOIDS`.
        empty_row: a row that may be zeros, such as that of the padding in fairseq's table.
    """
    angles, arrange = SINUSOIDS[layout]
    rows = torch.arange(len(table), device=table.device)
    error = (arrange(angles(rows, table.shape[1])).double() - table.double()).abs()
    if empty_row is not None and not table[empty_row].any():
        error[empty_row] = 0
    # In single precision the angle, too, is rounded, and the error of the angle grows with the position.
    rounding = 2 * torch.finfo(table.dtype).eps + 4 * torch.finfo(torch.float32).eps * rows.double()[:, None]
    return bool((error <= rounding).all())
