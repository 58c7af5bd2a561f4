"""Learning-rate schedules: pure functions of the number of the update and of the part of the training that is done."""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, inf, pi

import torch
from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True)
class Schedule:
    """
    The learning rate of every update: `schedule(step, progress)`.

    `step` counts updates from 1 (the next update). `progress` in [0, 1] is the part of the training that is done: the
    greatest of (step - 1) / max_steps, epochs done / num_train_epochs and minutes / max_minutes, over the limits that
    are set. Decays follow `progress`, so they also end in time under a limit in minutes.

    Args:
        name: a key of `SCHEDULES`.
        learning_rate: peak, reached at the end of the warmup (not used by `noam`, which fixes its own peak).
        warmup_steps: updates over which the learning rate rises linearly; 0 for no warmup.
        warmup_ratio: warmup as a fraction of the training, instead of `warmup_steps`.
        hidden_size: d_model of equation (3); only `noam` needs it.
        scale: factor on the result, 1 for equation (3) itself.

    Raises:
        ValueError: an unknown name, a warmup out of range, or `noam` without `hidden_size` or `warmup_steps`.
    """

    name: str = "noam"
    learning_rate: float = 5e-4
    warmup_steps: int = 4000
    warmup_ratio: float | None = None
    hidden_size: int | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise ValueError(f"lr_scheduler={self.name!r} is not a schedule; choose one of {', '.join(SCHEDULES)}")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps={self.warmup_steps} is negative; give 0 for no warmup")
        if self.warmup_ratio is not None and not 0 <= self.warmup_ratio < 1:
            raise ValueError(f"warmup_ratio={self.warmup_ratio} must lie in [0, 1)")
        if self.name == "noam":
            if self.hidden_size is None:
                raise ValueError("the schedule 'noam' (equation 3) needs hidden_size, the model's d_model")
            if self.warmup_ratio is not None or self.warmup_steps == 0:
                raise ValueError("the schedule 'noam' (equation 3) counts updates: give warmup_steps >= 1, no ratio")

    def __call__(self, step: int, progress: float = 0.0) -> float:
        return self.scale * SCHEDULES[self.name](self, step, min(max(progress, 0.0), 1.0))

    def warmup(self, step: int, progress: float) -> float:
        """Updates made, this one included, in units of the warmup: below 1 while the learning rate rises."""
        if self.warmup_ratio is not None:
            return progress / self.warmup_ratio if self.warmup_ratio else inf
        return step / self.warmup_steps if self.warmup_steps else inf

    def decay_progress(self, step: int, progress: float) -> float:
        """How far the time after the warmup has come: 0 at its start, 1 at the end of the training."""
        if self.warmup_ratio is not None:
            warmup_share = self.warmup_ratio
        else:
            # The share of the training that the warmup takes, exact under max_steps; under a limit in minutes it is
            # what the speed so far says.
            warmup_share = min(progress * self.warmup_steps / (step - 1), 1.0) if step > 1 else 0.0
        return max(progress - warmup_share, 0.0) / (1 - warmup_share) if warmup_share < 1 else 0.0


def noam(schedule: Schedule, step: int, progress: float) -> float:
    """Equation (3) of Vaswani et al. (2017), section 5.3; the name is tensor2tensor's."""
    assert schedule.hidden_size is not None
    d_model, warmup = schedule.hidden_size, schedule.warmup_steps
    lrate: float = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
    return lrate


def inverse_sqrt(schedule: Schedule, step: int, progress: float) -> float:
    """The shape of equation (3) with a peak of one's own choice; the decay starts at the end of the warmup."""
    warmup = schedule.warmup(step, progress)
    if warmup == inf:  # without a warmup the decay starts at the first update
        return schedule.learning_rate * step**-0.5
    return schedule.learning_rate * (warmup if warmup < 1 else warmup**-0.5)


def linear(schedule: Schedule, step: int, progress: float) -> float:
    """Rises linearly to the peak, then falls linearly to 0 at the end of the training."""
    decay = 1 - schedule.decay_progress(step, progress)
    return schedule.learning_rate * min(schedule.warmup(step, progress), decay)


def cosine(schedule: Schedule, step: int, progress: float) -> float:
    """Rises linearly to the peak, then falls to 0 along half a cosine (Loshchilov & Hutter, 2017)."""
    decay = (1 + cos(pi * schedule.decay_progress(step, progress))) / 2
    return schedule.learning_rate * min(schedule.warmup(step, progress), decay)


def constant(schedule: Schedule, step: int, progress: float) -> float:
    """Rises linearly to the peak and stays there."""
    return schedule.learning_rate * min(schedule.warmup(step, progress), 1.0)


SCHEDULES: dict[str, Callable[[Schedule, int, float], float]] = {
    "noam": noam,
    "inverse_sqrt": inverse_sqrt,
    "linear": linear,
    "cosine": cosine,
    "constant": constant,
}


def lambda_lr(optimizer: torch.optim.Optimizer, schedule: Schedule, max_steps: int) -> LambdaLR:
    """
    The schedule as a torch scheduler, e.g. for `transformers.Trainer(optimizers=(optimizer, lambda_lr(...)))`.

    The optimizer's own learning rate is replaced: the schedule gives absolute values.
    """
    for group in optimizer.param_groups:
        group["lr"] = 1.0
        group.pop("initial_lr", None)
    return LambdaLR(optimizer, lambda done: schedule(done + 1, done / max_steps))
