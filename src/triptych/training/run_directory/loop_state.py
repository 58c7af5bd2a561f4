"""`LoopState`, where a run stands; and which values a file may give for it: an impossible value is refused by name."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from ...data.quantities import counted


def is_number(value: Any) -> bool:
    """Says whether a value from a JSON file is a number that a metric can have; NaN and infinity are such numbers."""
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def are_metrics(value: Any) -> bool:
    """Says whether a value from a JSON file is an object whose values are numbers."""
    return isinstance(value, dict) and all(map(is_number, value.values()))


# The condition that a value of a LoopState must meet, by the type of the value.
VALID: dict[type, Callable[[Any], bool]] = {
    int: lambda value: value >= 0,
    float: lambda value: 0 <= value < math.inf,
    bool: lambda value: True,
    list: lambda value: len(value) == 2 and all(type(n) is float and math.isfinite(n) for n in value),
    dict: are_metrics,
}

# The fields in the state of a `torch.amp.GradScaler`, and the condition that each must meet.
SCALER: dict[str, Callable[[Any], bool]] = {
    "scale": lambda value: type(value) is float and 0 < value < math.inf,
    "growth_factor": lambda value: type(value) is float and 1 < value < math.inf,
    "backoff_factor": lambda value: type(value) is float and 0 < value < 1,
    "growth_interval": lambda value: type(value) is int and 0 < value < 2**31,
    "_growth_tracker": lambda value: type(value) is int and 0 <= value < 2**31,
}


@dataclass
class LoopState:
    """Where a run stands: what a checkpoint holds beside weights, optimizer and random numbers."""

    step: int = 0  # updates made
    epoch: int = 0  # epochs completed
    updates: int = 0  # updates made in the current epoch
    seconds: float = 0.0  # time spent, over all starts of the run
    evaluated: int = 0  # `step` of the last evaluation
    evaluated_at: float = 0.0  # `seconds` of the last evaluation
    saved_at: float = 0.0  # `seconds` of the last checkpoint
    window: list[float] = field(default_factory=lambda: [0.0, 0.0])  # sums since the last log line: loss, items
    metrics: dict[str, float] = field(default_factory=dict)  # of the last evaluation
    best: dict[str, float] = field(default_factory=dict)  # `best_metric` and its best value so far
    stale: int = 0  # evaluations since the best one
    pieces: int = 0  # into which `find_batch_size` cuts the share of a process; 0: as the options say
    scheduled: bool = True  # False: the checkpoint was not due, a signal asked for it


def is_better(value: float, former: float, greater_is_better: bool) -> bool:
    """Compares the value of a metric with the best one so far; every number is better than NaN."""
    sign = 1 if greater_is_better else -1
    return math.isnan(former) or sign * value > sign * former


def check_state(values: dict[str, Any], step: int, processes: int) -> None:
    """Compares the content of state.json with the checkpoint in which it lies.

    Args:
        values: a `LoopState`, `processes` and `scaler` (the state of the loss scale, or None).
        step: the number in the name of the checkpoint's directory.
        processes: the number of processes whose random numbers the checkpoint holds.

    Raises:
        ValueError: a field is missing or unknown, or its value cannot be that of this checkpoint; it is named.
    """
    initial = asdict(LoopState())
    if differing := sorted(values.keys() ^ (initial.keys() | {"processes", "scaler"})):
        raise ValueError(f"it has other fields than a state, e.g. {differing[0]!r}")
    for name, default in initial.items():
        if type(values[name]) is not type(default) or not VALID[type(default)](values[name]):
            raise ValueError(f"{name}={values[name]!r}")
    state = LoopState(**{name: values[name] for name in initial})
    if type(values["processes"]) is not int or values["processes"] != processes:
        raise ValueError(f"processes={values['processes']!r}, but there are random numbers of {processes}")
    check_scaler(values["scaler"])
    # An epoch has at least one update. In the first epoch, `updates` counts all updates of the run.
    fits = {
        "step": (state.step == step, f"the directory is that of step {step}"),
        "epoch": (state.epoch + state.updates <= step, f"there were {counted(step, 'updates')} in all"),
        "updates": (
            state.epoch > 0 or state.updates == step,
            f"there were {counted(step, 'updates')} in the first epoch",
        ),
        "evaluated": (state.evaluated <= step, f"there were {counted(step, 'updates')} in all"),
        "evaluated_at": (state.evaluated_at <= state.seconds, f"the run took {state.seconds} seconds"),
        "saved_at": (state.saved_at <= state.seconds, f"the run took {state.seconds} seconds"),
    }
    for name, (holds, reason) in fits.items():
        if not holds:
            raise ValueError(f"{name}={values[name]!r}, but {reason}")


def check_scaler(scaler: Any) -> None:
    """Raises ValueError unless `scaler` is None or the state of a `torch.amp.GradScaler`."""
    if scaler is None:
        return
    if not isinstance(scaler, dict) or scaler.keys() != SCALER.keys():
        raise ValueError(f"scaler={scaler!r} is not the state of a loss scale")
    if wrong := [name for name, is_valid in SCALER.items() if not is_valid(scaler[name])]:
        raise ValueError(f"scaler.{wrong[0]}={scaler[wrong[0]]!r}")


def check_best(values: dict[str, Any], step: int) -> None:
    """Compares the content of best.json with the directory of `step`, in which it lies.

    Raises:
        ValueError: a field has a value that cannot be that of this directory; the message names it.
    """
    metric, value, metrics = (values.get(name) for name in ("metric", "value", "metrics"))
    if type(values.get("step")) is not int or values["step"] != step:
        raise ValueError(f"step={values.get('step')!r}, but the directory is that of step {step}")
    if not are_metrics(metrics):
        raise ValueError(f"metrics={metrics!r}")
    assert isinstance(metrics, dict)
    if not isinstance(metric, str) or metric not in metrics:
        raise ValueError(f"metric={metric!r}, but the metrics are {', '.join(metrics)}")
    if not is_number(value) or not (
        value == metrics[metric] or (value != value and metrics[metric] != metrics[metric])
    ):
        raise ValueError(f"value={value!r}, but {metric} is {metrics[metric]!r}")
