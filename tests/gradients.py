"""The gradients of the first update of a training loop, however the processes share the model."""

from collections.abc import Callable

import torch

from triptych.training import TrainingLoop
from triptych.training.sharding import plain_names, whole


def first_gradients(loop: TrainingLoop, then: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Gives `then` the gradients of the first update, name → whole tensor, once they are there."""
    weights = loop.weights
    step = weights.step

    def told(learning_rate: float) -> torch.Tensor | None:
        if loop.state.step == 0:
            trained = {name: p for p, name in plain_names(weights.trained).items() if p.requires_grad}
            then({name: whole_gradient(parameter).clone() for name, parameter in trained.items()})
        return step(learning_rate)

    weights.step = told  # type: ignore[method-assign]


def whole_gradient(parameter: torch.Tensor) -> torch.Tensor:
    """All of the gradient of a parameter; every process calls it."""
    if hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping"):  # DeepSpeed's engine holds it
        from deepspeed.utils import safe_get_full_grad

        gradient: torch.Tensor = safe_get_full_grad(parameter)
        return gradient
    assert parameter.grad is not None
    return whole(parameter.grad)
