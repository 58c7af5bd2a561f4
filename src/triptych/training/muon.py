"""Muon (Jordan et al. 2024): momentum whose update of a matrix is made orthogonal, so that all directions advance."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

# The quintic of Jordan et al.; it drives the singular values of a matrix towards 1, into about [0.7, 1.2].
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Returns nearly U Vᵀ for each matrix U S Vᵀ, by Newton-Schulz iterations: (N, m, n) → (N, m, n).

    It takes all matrices of one shape at a time, and keeps their precision: torch's own Muon iterates in bfloat16,
    which many CPUs emulate.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.AdamW):
    """Muon for groups marked `orthogonal`, AdamW for all others (embeddings, the output map, norms, biases).

    An update is scaled to the size of an update of AdamW, 0.2 √max(m, n) (Liu et al. 2025, equation 4), so that one
    learning rate and one weight decay suit both.

    Args:
        groups: parameter groups; in those with `orthogonal=True` all parameters are matrices.
        momentum: the decay of the mean of gradients in the orthogonal groups; with Nesterov's look ahead.
        iterations: the number of Newton-Schulz iterations.
        **options: the arguments of `torch.optim.AdamW`.
    """

    def __init__(self, groups: Any, momentum: float = 0.95, iterations: int = 5, **options: Any) -> None:
        super().__init__(groups, **options)
        self._step_supports_amp_scaling = (
            False  # fp16: the scaler is to unscale the gradients and to skip infinite ones
        )
        for group in self.param_groups:
            if group.setdefault("orthogonal", False):
                group.setdefault("momentum", momentum)
                group.setdefault("iterations", iterations)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Extends AdamW's method: updates the matrices first, and clears their gradients: AdamW skips them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["orthogonal"]:
                self.update_matrices(group)
        super().step()
        return loss

    def update_matrices(self, group: dict[str, Any]) -> None:
        """Updates the matrices of an orthogonal group, all matrices of one shape together."""
        alike: dict[Any, list[nn.Parameter]] = defaultdict(list)
        for matrix in group["params"]:
            if matrix.grad is not None:
                alike[matrix.shape, matrix.dtype, matrix.device].append(matrix)
        for matrices in alike.values():
            directions = torch.stack([self.direction(matrix, group["momentum"]) for matrix in matrices])
            size = 0.2 * max(directions.shape[1:]) ** 0.5
            for matrix, update in zip(matrices, orthogonalize(directions, group["iterations"]), strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"] * size)
                matrix.grad = None

    def direction(self, matrix: nn.Parameter, momentum: float) -> Tensor:
        """Returns the mean of the gradients so far, with Nesterov's look ahead."""
        state = self.state[matrix]
        if not state:
            state["step"] = torch.zeros(())  # Adam looks for it when a state is loaded
            state["mean"] = torch.zeros_like(matrix)
        assert matrix.grad is not None
        mean: Tensor = state["mean"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(mean, momentum)
