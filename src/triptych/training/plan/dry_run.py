"""What `--dry_run` prints beside the summary: the updates, the tokens, and the memory of a run that is not started."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from ...data import DatasetBatches, StreamBatches
from ...data.batching import token_lengths
from ...data.quantities import counted
from .forecast import Forecast, Measured

UNITS = ("B", "kB", "MB", "GB")


def update_lines(batches: DatasetBatches | StreamBatches, sides: Mapping[str, str]) -> list[str]:
    """Returns lines about the updates of an epoch: their number, rows, tokens and padding.

    Args:
        sides: side of a row → the column of its tokens.
    """
    if isinstance(batches, StreamBatches):
        return ["the data are a stream: their updates are not known before they are read"]
    sampler = batches.sampler
    lengths = [token_lengths(batches.dataset, column)[sampler.order] for column in sides.values()]
    starts, rows = sampler.bounds[:-1], np.diff(sampler.bounds)
    tokens = np.add.reduceat(np.sum(lengths, axis=0), starts)
    padded = rows * np.sum([np.maximum.reduceat(side, starts) for side in lengths], axis=0)
    longest = ", ".join(f"{int(side.max()):,} {name}" for side, name in zip(lengths, sides, strict=True))
    return [
        f"{counted(len(rows), 'updates')} an epoch, of {spread(rows)} rows and {spread(padded)} tokens with padding",
        f"{counted(int(tokens.sum()), 'tokens')} an epoch, {1 - tokens.sum() / padded.sum():.1%} of the updates is "
        f"padding; longest: {longest}",
    ]


def spread(numbers: np.ndarray) -> str:
    """Returns the least, the middle and the greatest number."""
    return f"{int(numbers.min()):,} / {int(np.median(numbers)):,} / {int(numbers.max()):,}"


def memory_lines(model: nn.Module, measured: Measured) -> list[str]:
    """Returns lines about the memory of one process: what is known, and what was in use while it was measured."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    gradients = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    parts = {"weights": weights, "gradients": gradients, "optimizer": measured.state_bytes}
    told = [f"{', '.join(f'{name} {size(number)}' for name, number in parts.items())}, for each process"]
    if measured.peak_bytes is not None:
        told.append(f"at most {size(measured.peak_bytes)} were in use while updates were measured")
    return told


def size(number: float) -> str:
    """Returns a number of bytes as a reader takes it in: 9.6 MB, 1.2 GB."""
    number = float(f"{number:.3g}")  # first, because 999.9 MB are 1 GB
    power = min(int(np.log10(max(number, 1)) // 3), len(UNITS) - 1)
    return f"{number / 1000**power:.3g} {UNITS[power]}"


def dry_run(
    batches: DatasetBatches | StreamBatches,
    sides: Mapping[str, str],
    model: nn.Module,
    measured: Measured,
    expected: Forecast,
    told: Sequence[str],
) -> list[str]:
    """Returns all lines.

    Args:
        told: warnings about the forecast.
    """
    parts = {
        "batches": update_lines(batches, sides),
        "memory": memory_lines(model, measured),
        "forecast": [f"{expected} ({measured.seconds:.3g} seconds for an update)", *told],
    }
    lines = [
        f"{'' if number else name:<11} {line}" for name, part in parts.items() for number, line in enumerate(part)
    ]
    return [*lines, "nothing is trained or written (--dry_run)"]
