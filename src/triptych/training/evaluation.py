"""The metrics of the present weights: mean losses over the validation data, and what the task itself measures."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, send_to_device
from torch import Tensor, nn

from ..configuration.fields import meant
from .arguments import LoopArguments
from .objective import Batches, Objective, Piece
from .run_directory.random_numbers import random_state, set_random_state


def metric_names(objective: Objective, has_validation: bool) -> list[str]:
    """Returns the names of the metrics that an evaluation gives; without any, there are no evaluations."""
    losses = [*objective.losses, *objective.derived] if has_validation else []
    return [*(f"validation_{name}" for name in losses), *objective.metrics]


def check_best_metric(arguments: LoopArguments, names: Sequence[str]) -> None:
    """Checks, before any long work, whether the evaluations will give the metric by which the best weights are kept.

    Args:
        names: what `metric_names` returned.

    Raises:
        ValueError: they will not give it, or there are no evaluations and an option needs them.
    """
    if not names:
        if arguments.final_weights == "best":
            raise ValueError("final_weights=best needs validation data by which the best are known")
        if arguments.early_stopping_patience is not None:
            raise ValueError("early_stopping_patience needs validation data by which the best is known")
    elif arguments.best_metric is not None and arguments.best_metric not in names:
        raise ValueError(
            f"best_metric={arguments.best_metric!r} is not among the metrics of an evaluation"
            f"{meant(arguments.best_metric, names)}: {', '.join(names)}"
        )


def total_items(
    objective: Objective, model: nn.Module, pieces: Iterable[Piece], accelerator: Accelerator
) -> dict[str, Tensor]:
    """Adds up what the objective counts, over the pieces of all processes; every number is at least 1.

    Without any piece the result is empty.
    """
    totals: dict[str, Tensor] = {}
    for piece in pieces:
        for name, number in objective.count_items(model, piece).items():
            totals[name] = totals[name] + number if name in totals else number
    if totals and accelerator.num_processes > 1:
        sums = accelerator.reduce(torch.stack([*totals.values()]).to(accelerator.device), "sum")
        totals = dict(zip(totals, sums, strict=True))
    return {name: number.to(accelerator.device).clamp(min=1) for name, number in totals.items()}


class Evaluation:
    """
    Computes the metrics of a model, the same on all processes. The random numbers of the training stay as they are.

    Args:
        objective: what is counted and measured.
        model: the model without wrappers.
        batches: the validation data; None: only `objective.evaluate` is asked.
    """

    def __init__(
        self, objective: Objective, model: nn.Module, batches: Batches | None, accelerator: Accelerator
    ) -> None:
        self.objective, self.model, self.batches, self.accelerator = objective, model, batches, accelerator

    @property
    def names(self) -> list[str]:
        """The names of the metrics; none where there is nothing to evaluate."""
        return metric_names(self.objective, self.batches is not None)

    def __call__(self) -> dict[str, float]:
        random_numbers = random_state(self.accelerator.device)
        values: dict[str, float] = {}
        self.model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            if self.batches is not None:
                values |= {f"validation_{name}": value for name, value in self.losses(self.batches).items()}
            if self.objective.metrics:
                values |= self.objective.evaluate(self.model, self.accelerator)
        self.model.train()
        set_random_state(random_numbers, self.accelerator.device)
        if self.accelerator.num_processes > 1:
            values = broadcast_object_list([values])[0]
        return values

    def losses(self, batches: Batches) -> dict[str, float]:
        """Returns the mean losses over all items of `batches`: exact for ragged batches and any number of processes.

        Raises:
            ValueError: there is no batch.
        """
        # All data together are one update: first all items are counted, then the losses of all pieces add up.
        batches.set_epoch(0)
        all_pieces = (piece for pieces in batches.updates() for piece in pieces)
        items = total_items(self.objective, self.model, all_pieces, self.accelerator)
        if not items:
            raise ValueError("the data give no batch: they are empty")
        dtype = torch.float32 if self.accelerator.device.type == "mps" else torch.float64
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=dtype, device=self.accelerator.device))
        for pieces in batches.updates():
            for piece in send_to_device(pieces, self.accelerator.device):
                for name, loss in self.objective.validation_losses(self.model, piece, items).items():
                    sums[name] += loss
        totals = self.accelerator.reduce(torch.stack([*sums.values()]), "sum").tolist()
        means = dict(zip(sums, totals, strict=True))
        return means | {name: derive(totals[0]) for name, derive in self.objective.derived.items()}
