"""What the training loop asks for: the updates of an epoch, and what is counted, minimised and measured."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from torch import Tensor, nn

Piece = dict[str, Tensor]


class Batches(Protocol):
    """
    The updates of an epoch, as this process sees them.

    One item is one update: the list of pieces that this process runs through the model one after the other. Every
    process sees the same number of updates and, within an update, of pieces; a piece without labels contributes 0.

    Batches whose number of updates is known have `__len__`: the updates in the epoch that was set. A stream has none;
    its epoch ends where the stream ends, and the run needs max_steps or max_minutes.
    """

    def set_epoch(self, epoch: int) -> None:
        """Fixes the order of the updates, by the seed and `epoch` alone."""

    def updates(self, start: int = 0) -> Iterator[list[Piece]]:
        """Gives the updates of the epoch from number `start` on.

        They must equal those that `updates()` gives after skipping `start` of them, and making them must not draw
        from the global random number generators: only then does a resumed run continue bit for bit.
        """


def perplexity(loss: float) -> float:
    """Returns the exponential of a mean negative log-likelihood; infinity where a float cannot hold it."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def without_logits(model: nn.Module) -> dict[str, bool]:
    """Returns the argument of `forward` with which a model returns its loss alone; empty for a model without it."""
    compiled = getattr(model, "_orig_mod", model)  # torch.compile wraps a model
    unwrapped = getattr(compiled, "module", compiled)  # and so does data parallelism
    accepted = inspect.signature(type(unwrapped).forward).parameters
    return {"skip_logits": True} if "skip_logits" in accepted else {}


class Objective:
    """
    What a run counts, minimises and measures. The defaults suit every model that returns its loss.

    `items` in the methods below is what `count_items` returned, added up over all pieces and all processes of an
    update; every number is at least 1. A loss is a sum over a piece, divided by these numbers. Therefore the losses of
    all pieces add up to the loss of the update, however the update is cut.

    Attributes:
        losses: the names that `validation_losses` gives; the metric `validation_NAME` is computed for each.
        derived: further metrics of the validation data: name → function of the mean of the first of `losses`.
        metrics: the names that `evaluate` gives. Where there are none, `evaluate` is not called.
        sides: side of a row → the column of a piece that holds its tokens; these count for the speed that is logged.
    """

    losses: Sequence[str] = ("loss",)
    derived: Mapping[str, Callable[[float], float]] = {"perplexity": perplexity}
    metrics: Sequence[str] = ()
    sides: Mapping[str, str] = {"text": "input_ids"}

    def count_items(self, model: nn.Module, piece: Piece) -> dict[str, Tensor]:
        """Counts what the losses of a piece are means over.

        By default the model says it with a method `count_items(piece)`; a model without one is taken to count the
        labels other than -100.

        Returns:
            Name of an argument of the model's `forward` → the number in this piece, a scalar tensor of integers. The
            first one is the weight of an update in the mean losses that are logged.
        """
        if hasattr(model, "count_items"):
            counts: dict[str, Tensor] = model.count_items(piece)  # type: ignore[operator]
            return counts
        return {"num_items_in_batch": (piece["labels"] != -100).sum()}

    def loss(self, model: nn.Module, piece: Piece, items: dict[str, Tensor]) -> Tensor:
        """Returns the contribution of a piece to the loss of the update: a scalar tensor.

        By default the model computes it; a model whose `forward` can leave out the logits is asked to.
        """
        loss: Tensor = model(**piece, **items, **without_logits(model)).loss
        return loss

    def validation_losses(self, model: nn.Module, piece: Piece, items: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the contribution of a piece to each of `losses`: name → scalar tensor.

        The first one is the negative log-likelihood. Others can stand beside it, such as the smoothed loss that
        training minimises.
        """
        return {"loss": self.loss(model, piece, items)}

    def evaluate(self, model: Any, accelerator: Accelerator) -> dict[str, float]:
        """Returns the `metrics` of the model, which is in evaluation mode and without wrappers.

        Every process calls it; the results of the main process count.
        """
        return {}

    def save_extras(self, directory: Path) -> None:
        """Writes into a directory the files that belong beside the weights, such as a tokenizer."""
