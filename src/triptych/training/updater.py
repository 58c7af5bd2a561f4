"""One update of the weights: pieces forward and backward, then the optimizer at the learning rate of this update."""

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, distributed, nn

from .arguments import LoopArguments
from .evaluation import total_items
from .measurements import Measurements
from .objective import Objective, Piece
from .optimizer import create_optimizer
from .run_directory.random_numbers import random_state, set_random_state
from .schedule import Schedule
from .sharding import WholeModel


class Updater:
    """
    Makes updates.

    Args:
        weights: the model on its device, and what is trained of it.
        arguments: the optimizer, the schedule, and what saves memory or time.
        objective: what is counted and minimised.
        measurements: are told what each update has worked through.

    Attributes:
        model: the model as it is wrapped, compiled where that is wanted; training goes through it.
        schedule: how far an update changes the weights.

    Raises:
        ValueError: the model cannot do what an option asks for.
    """

    def __init__(
        self,
        weights: WholeModel,
        arguments: LoopArguments,
        objective: Objective,
        measurements: Measurements,
        accelerator: Accelerator,
    ) -> None:
        self.weights, self.arguments, self.objective = weights, arguments, objective
        self.measurements, self.accelerator = measurements, accelerator
        self.schedule = Schedule(
            name=arguments.lr_scheduler,
            learning_rate=arguments.learning_rate,
            warmup_steps=arguments.warmup_steps,
            warmup_ratio=arguments.warmup_ratio,
            hidden_size=getattr(getattr(weights.model, "config", None), "hidden_size", None),
            scale=arguments.learning_rate_scale,
        )
        if arguments.gradient_checkpointing:
            compute_layers_twice(weights.trained)
        optimizer = create_optimizer(
            weights.trained,
            arguments.optimizer,
            betas=(arguments.adam_beta1, arguments.adam_beta2),
            eps=arguments.adam_epsilon,
            weight_decay=arguments.weight_decay,
        )
        weights.prepare(optimizer, arguments.max_grad_norm)
        # Evaluations use the model that is not compiled: generation would compile it for every length anew.
        self.model: Any = torch.compile(weights.wrapped, dynamic=True) if arguments.torch_compile else weights.wrapped

    def update(self, pieces: list[Piece], number: int, progress: float) -> bool:
        """Makes an update; waits for nothing on the device.

        Args:
            pieces: the share of this process.
            number: of the update in the run, from 1.
            progress: the part of the training that is done.

        Returns:
            Whether the update was made. With `find_batch_size` it is not where the memory is too small; then nothing
            has changed.
        """
        device = self.accelerator.device
        if device.type != "cpu":
            pieces = send_to_device(pieces, device, non_blocking=True)
        items = total_items(self.objective, self.weights.model, pieces, self.accelerator)
        losses = self.try_gradients(pieces, items) if self.arguments.find_batch_size else self.gradients(pieces, items)
        if losses is None:
            return False
        self.measurements.add(pieces, losses, next(iter(items.values())))
        learning_rate = self.schedule(number, progress)
        self.measurements.learning_rate = learning_rate
        self.measurements.gradient_norm = self.weights.step(learning_rate)
        return True

    def gradients(self, pieces: list[Piece], items: dict[str, Tensor], alone: bool = False) -> list[Tensor]:
        """Computes the gradients of an update, and returns the losses of its pieces.

        Args:
            alone: the gradients stay those of this process.
        """
        losses = []
        for number, piece in enumerate(pieces, start=1):
            with self.weights.piece(travel=number == len(pieces) and not alone):
                with self.accelerator.autocast():
                    loss = self.objective.loss(self.model, piece, items)
                self.weights.backward(loss)
            losses.append(loss.detach())
        return losses

    def try_gradients(self, pieces: list[Piece], items: dict[str, Tensor]) -> list[Tensor] | None:
        """Does what `gradients` does; None where the memory of any process is too small. Then no process has
        gradients, and the random numbers are those from before.

        Every process computes by itself, so that none waits for one that has no memory. Then all say whether they
        had enough of it, and only then the gradients travel.
        """
        random_numbers = random_state(self.accelerator.device)
        losses, has_several = None, self.accelerator.num_processes > 1
        try:
            losses = self.gradients(pieces, items, alone=has_several)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
        # The error held on to what was computed; here it is gone.
        if greatest(float(losses is None), self.accelerator) == 0:
            if has_several:
                self.add_up_gradients()
            return losses
        set_random_state(random_numbers, self.accelerator.device)
        self.weights.optimizer.zero_grad(set_to_none=True)
        clear_device_cache(garbage_collection=True)
        return None

    def add_up_gradients(self) -> None:
        """Gives all processes the mean of their gradients, as data parallelism does it at the end of a backward pass.

        Every process runs all parts of the model, also where it has no rows, so all have the same gradients.
        """
        for parameter in self.weights.parameters:
            if parameter.grad is not None:
                parameter.grad.div_(self.accelerator.num_processes)  # before they are added, as torch does it
                distributed.all_reduce(parameter.grad)


def greatest(value: float, accelerator: Accelerator) -> float:
    """Returns the greatest value of all processes."""
    if accelerator.num_processes == 1:
        return value
    return float(accelerator.gather(torch.tensor([value], device=accelerator.device)).max())


def compute_layers_twice(model: nn.Module) -> None:
    """Lets a model keep only the inputs of its layers in training, and compute the rest again for the gradients.

    Raises:
        ValueError: it cannot.
    """
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise ValueError(f"gradient_checkpointing is not possible with {type(model).__name__}; leave it out")
    # transformers has a new name for it since version 5.23.
    enable: Any = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
