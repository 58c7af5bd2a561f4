"""The table of optimizers (Adam as in the paper, AdamW, Muon), and the groups of parameters that they get."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .muon import Muon

Groups = list[dict[str, Any]]


def fused(optimizer: Callable[..., torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Gives an optimizer of Adam's kind, in one fused kernel where torch has it for the devices and data types."""

    def create(groups: Groups, **options: Any) -> torch.optim.Optimizer:
        kinds = {(parameter.device, parameter.dtype) for group in groups for parameter in group["params"]}
        return optimizer(groups, fused=all(has_fused_kernel(*kind) for kind in kinds), **options)

    return create


# Word → what makes the optimizer: called with the parameter groups, and with `lr`, `betas` and `eps` by name. In the
# groups stand their weight decay, and `orthogonal=True` where all parameters are matrices between hidden states.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": fused(torch.optim.Adam),
    "adamw": fused(torch.optim.AdamW),
    "muon": fused(Muon),
}
# Those that change each weight by itself, from a state of zeros: the weights may lie in any order and shape.
ELEMENTWISE = ("adam", "adamw")


def parameter_groups(model: nn.Module, weight_decay: float) -> Groups:
    """Divides the trained parameters: matrices decay; biases and the gains of norms (of one dimension) do not.

    The matrices between hidden states are a group of their own, marked `orthogonal`: only for them the update of Muon
    has a meaning. The rows of the embeddings and of the output map are separate vectors.
    """
    output = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    tables = [output, *(module for module in model.modules() if isinstance(module, nn.Embedding))]
    rows = {id(parameter) for table in tables if table is not None for parameter in table.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    hidden = [p for p in trained if p.ndim == 2 and id(p) not in rows]
    others = {id(p) for p in hidden}
    groups: Groups = [
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
    Makes an optimizer for all trained parameters of a model.

    The defaults are the paper's Adam(0.9, 0.98, 1e-9) (section 5.3): without weight decay, "adamw" is "adam". "muon"
    differs from AdamW only for the matrices between hidden states.

    Raises:
        ValueError: `name` is not a key of `OPTIMIZERS`, or the model has nothing to train.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer={name!r} is not known; choose one of {', '.join(OPTIMIZERS)}")
    groups = parameter_groups(model, weight_decay)
    if not groups:
        raise ValueError("the model has no parameter with requires_grad=True: there is nothing to train")
    return OPTIMIZERS[name](groups, lr=learning_rate, betas=betas, eps=eps)


def has_fused_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Says whether torch has Adam's step in one kernel there. torch tells it at a step only, so this makes one."""
    probe = nn.Parameter(torch.zeros(1, device=device, dtype=dtype))
    probe.grad = torch.zeros_like(probe)
    try:
        torch.optim.Adam([probe], fused=True).step()
    except RuntimeError:  # also NotImplementedError
        return False
    return True
