"""Adam and AdamW as the paper sets them, and Muon, in the fused kernels where torch has them."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .muon import Muon

OPTIMIZERS: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "muon": Muon}


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Matrices decay; biases and the gains of norms (everything of fewer than two dimensions) do not.

    Of the matrices, those between hidden states stand apart: only for them "orthogonal" (see Muon) has a meaning. The
    rows of embeddings and of the map to the vocabulary are vectors of their own.
    """
    output = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    tables = [output, *(module for module in model.modules() if isinstance(module, nn.Embedding))]
    rows = {id(parameter) for table in tables if table is not None for parameter in table.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    hidden = [p for p in trained if p.ndim == 2 and id(p) not in rows]
    others = {id(p) for p in hidden}
    groups: list[dict[str, Any]] = [
        {"params": hidden, "weight_decay": weight_decay, "orthogonal": True},
        {"params": [p for p in trained if p.ndim >= 2 and id(p) not in others], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def create_optimizer(
    model: nn.Module,
    name: str = "adamw",
    learning_rate: float = 1.0,
    betas: tuple[float, float] = (0.9, 0.98),
    eps: float = 1e-9,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """
    The paper's Adam(0.9, 0.98, 1e-9) (section 5.3); with `weight_decay` 0, "adamw" and "adam" are the same.
    "muon" is AdamW but for the matrices between hidden states.

    Raises:
        ValueError: `name` is not a key of `OPTIMIZERS`, or the model has nothing to train.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer={name!r} is not known; choose one of {', '.join(OPTIMIZERS)}")
    groups = parameter_groups(model, weight_decay)
    if not groups:
        raise ValueError("the model has no parameter with requires_grad=True: there is nothing to train")
    kinds = {(parameter.device, parameter.dtype) for group in groups for parameter in group["params"]}
    fused = all(has_fused_kernel(device, dtype) for device, dtype in kinds)
    optimizer: torch.optim.Optimizer = OPTIMIZERS[name](groups, lr=learning_rate, betas=betas, eps=eps, fused=fused)
    return optimizer


def has_fused_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch can make Adam's step in one kernel there; torch says so at the first step only, so one is made."""
    probe = nn.Parameter(torch.zeros(1, device=device, dtype=dtype))
    probe.grad = torch.zeros_like(probe)
    try:
        torch.optim.Adam([probe], fused=True).step()
    except RuntimeError:  # also NotImplementedError
        return False
    return True
