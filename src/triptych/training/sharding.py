"""Training a model whose parameters are divided over the processes (FSDP2; Zhao et al. 2023), beside a whole copy.

Of a divided model each process holds a part of every parameter, and a forward pass needs all processes. What a run
evaluates and writes is the whole copy: `gather` brings the trained weights into it, `scatter` brings its weights back.
So a checkpoint is the same with any number of processes, divided or not.
"""

import copy

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

# What libraries put into the names of parameters when they wrap a module.
WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "module.")


def is_divided(accelerator: Accelerator) -> bool:
    """Says whether the parameters are divided over the processes."""
    return bool(accelerator.distributed_type is DistributedType.FSDP)


def whole(tensor: Tensor) -> Tensor:
    """Returns all of a tensor that may be divided. Every process has to call it."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def part_of(full: Tensor, like: Tensor) -> Tensor:
    """Returns what this process holds of a whole tensor, divided as another one is; the tensor itself if it is not."""
    if not hasattr(like, "full_tensor"):
        return full
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements)


def plain_names(model: nn.Module) -> dict[Tensor, str]:
    """Returns parameter → its name, without what libraries have put into the names."""
    names: dict[Tensor, str] = {}
    for name, parameter in model.named_parameters():
        for wrapper in WRAPPERS:
            name = name.replace(wrapper, "")
        names[parameter] = name
    return names


class WholeModel:
    """
    A model that is trained as it is: one process, or data parallelism.

    Args:
        model: the model, equal on all processes.

    Attributes:
        trained: the module whose parameters the optimizer changes.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = self.trained = model

    def gather(self) -> None:
        """Brings the trained weights into `model`. Every process calls it."""

    def scatter(self) -> None:
        """Brings the weights of `model` into what is trained. Every process calls it."""


class DividedModel(WholeModel):
    """A model of which a copy is divided over the processes; `accelerator.prepare(trained, optimizer)` divides it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.trained = copy.deepcopy(model)

    @torch.no_grad()
    def gather(self) -> None:
        """Extends `WholeModel.gather`."""
        own = dict(self.model.named_parameters())
        for parameter, name in plain_names(self.trained).items():
            own[name].copy_(whole(parameter.detach()))

    @torch.no_grad()
    def scatter(self) -> None:
        """Extends `WholeModel.scatter`."""
        own = dict(self.model.named_parameters())
        for parameter, name in plain_names(self.trained).items():
            parameter.copy_(part_of(own[name].detach(), parameter))
