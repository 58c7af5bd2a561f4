"""The curve of a run: a picture of its losses and metrics over the updates, from metrics.jsonl."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

NOT_MEASURED = {"step", "minutes", "epoch", "learning_rate"}  # numbers of a record that say when, not how good
PANELS = 6  # at most
PANEL = (4.2, 3.2)  # width and height of a panel, in inches
NOISE = 1e-3  # a change by a smaller part of the value is none
MARGIN = 0.7  # of them left of the axes, for the numbers


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
    """Returns the names for each panel: all losses share the first one, and each metric has its own.

    A perplexity gets none, because it is a loss on another scale.
    """
    names = [name for name in names if "perplexity" not in name]
    losses = [name for name in names if name == "loss" or name.endswith("_loss")]
    return [group for group in [losses, *([name] for name in names if name not in losses)] if group][:PANELS]


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Returns the ends of the axis of values: what does not change is a flat line, and its noise is not enlarged."""
    low, high = min(values), max(values)
    size = max(abs(low), abs(high))
    margin = 0.05 * (high - low) if high - low > NOISE * size else 0.1 * (size or 1)
    return low - margin, high + margin


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

    # Margins in inches, and a legend at a fixed place: matplotlib's own search for both takes most of the time.
    width, height = PANEL[0] * len(groups), PANEL[1]
    figure: Any = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=MARGIN / width, right=1 - 0.1 / width, bottom=0.5 / height, top=1 - 0.5 / height)
    figure.subplots_adjust(wspace=MARGIN / (PANEL[0] - MARGIN))
    for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        for name in group:
            steps, values = zip(*series[name], strict=True)
            axes.plot(steps, values, label=name, marker="." if len(steps) < 30 else None)
        axes.set_xlim(0, 1.02 * max(step for name in group for step, _ in series[name]))
        axes.set_ylim(limits([value for name in group for _, value in series[name]]))
        axes.ticklabel_format(axis="y", useOffset=False)  # 0.25 and 0.26, not 1e-2 above 2.5e-1
        axes.set_xlabel("updates")
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=5)
        axes.grid(alpha=0.3)
        if len(group) > 1:
            # Above the axes, where it hides nothing.
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize="small", frameon=False)
        else:
            axes.set_title(group[0], fontsize="medium")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return buffer.getvalue()
