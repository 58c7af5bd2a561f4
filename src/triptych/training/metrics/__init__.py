"""Metrics of the `evaluate` library that need no network: `load_metric("sacrebleu").compute(...)`."""

from importlib import import_module
from typing import Any

# Name → module here and class in it; imported when asked for, as each needs a library of its own.
METRICS = {
    "chrf": ("translation", "ChrF"),
    "perplexity": ("perplexity", "Perplexity"),
    "sacrebleu": ("translation", "SacreBleu"),
}


def load_metric(name: str) -> Any:
    """
    An `evaluate.Metric` by the name that `evaluate.load` gives it.

    Raises:
        ValueError: no such metric here.
    """
    if name not in METRICS:
        raise ValueError(f"there is no metric {name!r}; choose one of {', '.join(METRICS)}")
    module, attribute = METRICS[name]
    return getattr(import_module(f".{module}", __name__), attribute)()
