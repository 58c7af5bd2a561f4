"""Metrics of the `evaluate` library that need no network: `load_metric("sacrebleu").compute(...)`."""

from importlib import import_module
from typing import Any

from ...configuration.fields import meant

# Name → module here and class in it; imported when asked for, as each needs a library of its own.
METRICS = {
    "accuracy": ("classification", "Accuracy"),
    "chrf": ("translation", "ChrF"),
    "f1": ("classification", "F1"),
    "matthews_correlation": ("classification", "MatthewsCorrelation"),
    "mse": ("classification", "MeanSquaredError"),
    "pearsonr": ("classification", "PearsonR"),
    "perplexity": ("perplexity", "Perplexity"),
    "rouge": ("rouge", "Rouge"),
    "sacrebleu": ("translation", "SacreBleu"),
    "seqeval": ("tagging", "SeqEval"),
    "spearmanr": ("classification", "SpearmanR"),
    "squad": ("squad", "Squad"),
    "squad_v2": ("squad", "SquadV2"),
}


def load_metric(name: str) -> Any:
    """
    An `evaluate.Metric` by the name that `evaluate.load` gives it.

    Raises:
        ValueError: no such metric here.
    """
    if name not in METRICS:
        raise ValueError(f"there is no metric {name!r}{meant(name, METRICS)}; choose one of {', '.join(METRICS)}")
    module, attribute = METRICS[name]
    return getattr(import_module(f".{module}", __name__), attribute)()
