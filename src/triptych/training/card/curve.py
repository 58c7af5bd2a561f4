"""The curve of a run: a picture of its losses and metrics over the updates, from metrics.jsonl."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

NOT_MEASURED = {"step", "minutes", "epoch", "learning_rate"}  # numbers of a record that say when, not how good
PANELS = 6  # at most
INCHES = (4.2, 3.2)  # width and height of a panel


def read_series(file: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns name → (step, value), for the losses and for what the evaluations measured."""
    series: dict[str, list[tuple[int, float]]] = defaultdict(list)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for record in map(json.loads, lines):
        logged = "loss" in record  # a log line has its loss, and beside it the speed, which is no result
        names = ["loss"] if logged else sorted(record.keys() - NOT_MEASURED)
        for name in names:
            value = record[name]
            if isinstance(value, int | float) and math.isfinite(value):
                series[name].append((record["step"], float(value)))
    return dict(series)


def panels(names: Iterable[str]) -> list[list[str]]:
    """Returns the names for each panel: all losses share the first one, and each metric has its own."""
    names = list(names)
    losses = [name for name in names if name == "loss" or name.endswith("_loss")]
    return [group for group in [losses, *([name] for name in names if name not in losses)] if group][:PANELS]


def draw(series: dict[str, list[tuple[int, float]]]) -> bytes | None:
    """Returns the picture as PNG; None where there is nothing to draw.

    Raises:
        ImportError: matplotlib is not installed.
    """
    groups = panels(series)
    if not groups:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # draws without a screen
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(INCHES[0] * len(groups), INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        for name in group:
            steps, values = zip(*series[name], strict=True)
            axes.plot(steps, values, label=name, marker="." if len(steps) < 30 else None)
        axes.set_xlabel("updates")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
