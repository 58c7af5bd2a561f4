"""Training a model as a whole, or divided over the processes (FSDP2; Zhao et al. 2023) beside a whole copy.

Of a divided model each process holds a part of every parameter, and a forward pass needs all processes. What a run
evaluates and writes is the whole copy: `gather` brings the trained weights into it, `scatter` brings its weights back.
So a checkpoint is the same with any number of processes, divided or not.
"""

import copy
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from .optimizer import OPTIMIZERS

if TYPE_CHECKING:
    from .arguments import LoopArguments

# What libraries put into the names of parameters when they wrap a module.
WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "module.")


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
        model: the model on its device, equal on all processes.
        accelerator: the processes.

    Attributes:
        trained: the module whose parameters the optimizer changes.
        wrapped: the module through which training goes; known after `prepare`.
        optimizer: what changes the weights, as accelerate wraps it; known after `prepare`.
        words: how the model is shared, for the user; empty where each process has all of it.
        optimizers: the names of the optimizers that can train it.
    """

    words = ""
    optimizers: ClassVar[Collection[str]] = OPTIMIZERS

    def __init__(self, model: nn.Module, accelerator: Accelerator) -> None:
        self.model = self.trained = model
        self.accelerator = accelerator
        self.wrapped: Any = None
        self.optimizer: Any = None
        self.parameters: list[Tensor] = []  # those that the optimizer changes
        self.max_grad_norm = 0.0

    @classmethod
    def check(cls, accelerator: Accelerator, arguments: "LoopArguments") -> None:
        """Raises ValueError if a model cannot be trained so with these options."""

    def prepare(self, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> None:
        """Lets accelerate wrap the trained module and its optimizer.

        Args:
            max_grad_norm: the norm to which `step` clips the gradients; 0: it does not.
        """
        self.max_grad_norm = max_grad_norm
        self.wrapped, self.optimizer = self.accelerator.prepare(self.trained, optimizer)
        self.parameters = [parameter for parameter in self.wrapped.parameters() if parameter.requires_grad]
        # The wrapper of accelerate copies all outputs, logits too, to float32. The loop opens autocast itself.
        # (accelerate's function that removes the wrapper also removes decorators of `forward` that generation needs.)
        for name in ("forward", "_original_forward"):
            vars(self.trained).pop(name, None)

    # ---- an update -----------------------------------------------------------------------------------------------

    def piece(self, travel: bool) -> AbstractContextManager[Any]:
        """Surrounds the forward and the backward pass of a piece of an update.

        Args:
            travel: the gradients travel between the processes, with those of earlier pieces: once per update.
        """
        return nullcontext() if travel else self.accelerator.no_sync(self.wrapped)

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a piece, whose loss is a part of the loss of the update."""
        # Data parallelism takes the mean over the processes; the loss of the update is their sum.
        self.accelerator.backward(loss * self.accelerator.num_processes)

    def step(self, learning_rate: float) -> Tensor | None:
        """Changes the weights by the gradients, and forgets these.

        Returns:
            The norm of the gradients before clipping; None without clipping.
        """
        norm = None
        if self.max_grad_norm > 0:
            norm = whole(self.accelerator.clip_grad_norm_(self.parameters, self.max_grad_norm))
        self.set_learning_rate(learning_rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def set_learning_rate(self, learning_rate: float) -> None:
        """Sets the learning rate of all parameters."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    # ---- the whole copy ------------------------------------------------------------------------------------------

    def gather(self) -> None:
        """Brings the trained weights into `model`. Every process calls it."""

    def scatter(self) -> None:
        """Brings the weights of `model` into what is trained. Every process calls it."""

    # ---- the state of the optimizer ------------------------------------------------------------------------------

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Returns the state of the optimizer as one flat mapping: `name of the parameter/name of the state` → tensor.

        Every process calls it, because the tensors of a divided model are put together.
        """
        names = plain_names(self.trained)
        return {
            f"{names[parameter]}/{key}": whole(torch.as_tensor(value).detach()).cpu().contiguous()
            for parameter, values in self.optimizer.state.items()
            for key, value in values.items()
        }

    def load_optimizer_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Loads what `optimizer_tensors` returned, for any number of processes. Every process calls it.

        Raises:
            ValueError: the tensors belong to a model with other parameters.
        """
        names = plain_names(self.trained)
        named = {name: parameter for parameter, name in names.items()}
        trained = [names[p] for group in self.optimizer.param_groups for p in group["params"]]
        states = {
            # What has the shape of the parameter is divided as the parameter is.
            name: {k: part_of(t, named[name]) if t.shape == named[name].shape else t for k, t in values.items()}
            for name, values in by_parameter(tensors, trained).items()
        }
        self.optimizer.load_state_dict(
            {
                "state": {i: states[name] for i, name in enumerate(trained) if name in states},
                "param_groups": self.optimizer.state_dict()["param_groups"],
            }
        )

    def undo(self) -> Callable[[], None]:
        """Returns what brings weights and optimizer back to where they are now."""
        former = [parameter.detach().clone() for parameter in self.parameters]
        state = copy.deepcopy(self.optimizer.state_dict())

        def back() -> None:
            with torch.no_grad():
                for parameter, values in zip(self.parameters, former, strict=True):
                    parameter.copy_(values)
            self.optimizer.zero_grad(set_to_none=True)
            self.optimizer.load_state_dict(state)

        return back


def by_parameter(tensors: dict[str, Tensor], names: list[str]) -> dict[str, dict[str, Tensor]]:
    """Returns, of the state of an optimizer as `optimizer_tensors` gives it, name of a parameter → its state.

    Args:
        names: the parameters that are trained.

    Raises:
        ValueError: the state has another parameter.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        name, key = path.rsplit("/", 1)
        states.setdefault(name, {})[key] = tensor
    if unknown := states.keys() - set(names):
        raise ValueError(f"the optimizer's state is that of another model: it has {min(unknown)!r}")
    return states


class DividedModel(WholeModel):
    """A model of which a copy is divided over the processes by FSDP2."""

    words = "the model divided (FSDP2)"

    def __init__(self, model: nn.Module, accelerator: Accelerator) -> None:
        super().__init__(model, accelerator)
        self.trained = copy.deepcopy(model)

    @classmethod
    def check(cls, accelerator: Accelerator, arguments: "LoopArguments") -> None:
        """Extends `WholeModel.check`."""
        if arguments.find_batch_size and accelerator.num_processes > 1:
            # A process without memory would leave the update, and the others would wait for its part of the weights.
            raise ValueError(
                "find_batch_size does not work where processes share one model (FSDP2): leave it out, and give "
                "gradient_accumulation_steps"
            )

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
