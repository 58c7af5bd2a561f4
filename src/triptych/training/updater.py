"""One update of the weights: pieces forward and backward, then the optimizer at the learning rate of this update."""

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, nn

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

    def gradients(self, pieces: list[Piece], items: dict[str, Tensor]) -> list[Tensor]:
        """Computes the gradients of an update, and returns the losses of its pieces."""
        losses = []
        for number, piece in enumerate(pieces, start=1):
            with self.weights.piece(is_last=number == len(pieces)):
                with self.accelerator.autocast():
                    loss = self.objective.loss(self.model, piece, items)
                self.weights.backward(loss)
            losses.append(loss.detach())
        return losses

    def try_gradients(self, pieces: list[Piece], items: dict[str, Tensor]) -> list[Tensor] | None:
        """Does what `gradients` does; None where the memory is too small. Then there are no gradients, and the random
        numbers are those from before."""
        random_numbers = random_state(self.accelerator.device)
        try:
            return self.gradients(pieces, items)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
        # The error held on to what was computed; here it is gone.
        set_random_state(random_numbers, self.accelerator.device)
        self.weights.optimizer.zero_grad(set_to_none=True)
        clear_device_cache(garbage_collection=True)
        return None


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
