"""The training loop. It knows no model and no task: it gets batches, and a model that returns a loss."""

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list, send_to_device, set_seed
from torch import Tensor, nn

from ..files import reading
from .accelerator import create_accelerator
from .arguments import FREE_ON_RESUME, LoopArguments
from .checkpoints import (
    STATE_FILE,
    last_checkpoint,
    random_state,
    read_state_file,
    remedy_for,
    remove_unfinished,
    set_random_state,
)
from .keeper import Keeper
from .optimizer import create_optimizer
from .record import RUN_FILE, STATE, TRACKER_DIRECTORY
from .reporting import Reporter
from .run import check_identity, check_output_dir, start_run
from .schedule import Schedule
from .state import LoopState

Piece = dict[str, Tensor]


class Batches(Protocol):
    """
    The updates of an epoch, as this process sees them.

    One item is one update: the list of pieces that this process runs through the model one after the other. Every
    process sees the same number of updates and, within an update, of pieces; a piece without labels contributes 0.
    """

    def set_epoch(self, epoch: int) -> None:
        """Fixes the order of the updates, by the seed and `epoch` alone."""

    def __len__(self) -> int:
        """Updates in the epoch that was set."""

    def updates(self, start: int = 0) -> Iterator[list[Piece]]:
        """The updates of the epoch from number `start` on."""


def count_labels(piece: Piece) -> Tensor:
    """The number of target tokens over which the loss of a piece is a sum: labels other than -100. Scalar tensor."""
    return (piece["labels"] != -100).sum()


def model_loss(model: nn.Module, piece: Piece, items: Tensor) -> Tensor:
    """The piece's part of the mean loss over the `items` target tokens of the whole update. Scalar tensor."""
    loss: Tensor = model(**piece, num_items_in_batch=items).loss
    return loss


def model_losses(model: nn.Module, piece: Piece, items: Tensor) -> dict[str, Tensor]:
    """The piece's part of what an evaluation reports: name → mean over `items` target tokens, a scalar tensor.

    `loss` is the negative log-likelihood. Others may stand beside it, such as the loss that training minimises.
    """
    return {"loss": model_loss(model, piece, items)}


def perplexity(loss: float) -> float:
    """The exponential of a mean negative log-likelihood; infinite where that is more than a float can hold."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


@dataclass
class TrainingResult:
    """How a run ended: updates, minutes, the metrics of the final weights, and where the best were seen."""

    output_dir: Path
    step: int
    minutes: float
    metrics: dict[str, float]
    best: dict[str, Any] | None


class TrainingLoop:
    """
    Trains `model` on `train_batches` until the first of max_steps, num_train_epochs and max_minutes is reached.

    One item of the batches is one update of the weights. Its loss is the sum over the tokens of all its pieces, on all
    processes, divided by the number of those tokens; so neither accumulation nor data parallelism changes the result.

    Args:
        model: any module with `save_pretrained` and `from_pretrained`; must be equal on all processes.
        arguments: see `LoopArguments`.
        train_batches: see `Batches`.
        validation_batches: over these `validation_loss`, the mean negative log-likelihood of a token, and its
            exponential, `validation_perplexity`, are computed at evaluations.
        evaluate: called at evaluations on every process with the bare model in evaluation mode; returns metrics.
        identity: values that decide the result (of model, tokenizer, data); a resumed run must have the same.
        save_extras: writes into a directory what belongs beside the weights (tokenizer, ...).
        compute_loss: the loss of a piece, given the number of target tokens of the update.
        compute_validation_losses: the losses of a piece that an evaluation reports, by name; see `model_losses`.
        count_items: the number of target tokens of a piece.
        accelerator: by default `create_accelerator` makes one as the arguments say.

    Raises:
        ValueError, FileExistsError, FileNotFoundError: the output directory may not be used (see `check_output_dir`
            and `check_identity`).
        FloatingPointError: the loss is not finite any more; the last checkpoint stays.
    """

    def __init__(
        self,
        model: nn.Module,
        arguments: LoopArguments,
        train_batches: Batches,
        *,
        validation_batches: Batches | None = None,
        evaluate: Callable[[Any], dict[str, float]] | None = None,
        identity: dict[str, Any] | None = None,
        save_extras: Callable[[Path], None] = lambda directory: None,
        compute_loss: Callable[[nn.Module, Piece, Tensor], Tensor] = model_loss,
        compute_validation_losses: Callable[[nn.Module, Piece, Tensor], dict[str, Tensor]] = model_losses,
        count_items: Callable[[Piece], Tensor] = count_labels,
        accelerator: Accelerator | None = None,
    ) -> None:
        check_output_dir(arguments.output_dir, arguments.resume, arguments.overwrite)
        self.arguments = arguments
        if validation_batches is None and arguments.best_metric == "validation_loss" and evaluate is not None:
            raise ValueError(
                "best_metric=validation_loss needs validation_batches; name a metric of `evaluate` or none"
            )
        if validation_batches is None and evaluate is None and arguments.final_weights == "best":
            raise ValueError("final_weights=best needs validation data by which the best are known")
        self.accelerator = accelerator or create_accelerator(**arguments.accelerator_options())
        self.output_dir = Path(arguments.output_dir)
        self.train_batches, self.validation_batches, self.task_evaluate = train_batches, validation_batches, evaluate
        self.can_evaluate = validation_batches is not None or evaluate is not None
        self.compute_loss, self.count_items, self.save_extras = compute_loss, count_items, save_extras
        self.compute_validation_losses = compute_validation_losses
        fixed = {f"arguments.{k}": v for k, v in asdict(arguments).items() if k not in FREE_ON_RESUME}
        self.identity = json.loads(json.dumps(fixed | (identity or {})))
        self.schedule = Schedule(
            name=arguments.lr_scheduler,
            learning_rate=arguments.learning_rate,
            warmup_steps=arguments.warmup_steps,
            warmup_ratio=arguments.warmup_ratio,
            hidden_size=getattr(getattr(model, "config", None), "hidden_size", None),
            scale=arguments.learning_rate_scale,
        )

        self.bare_model = model.to(self.accelerator.device)
        optimizer = create_optimizer(
            model,
            arguments.optimizer,
            betas=(arguments.adam_beta1, arguments.adam_beta2),
            eps=arguments.adam_epsilon,
            weight_decay=arguments.weight_decay,
        )
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        # accelerate's wrapper copies all outputs, logits too, to float32. The loop opens autocast itself instead. (Its
        # own way to take the wrapper off takes off the decorators of `forward` as well, and generation needs them.)
        for name in ("forward", "_original_forward"):
            vars(self.bare_model).pop(name, None)
        keep = arguments.keep_checkpoints
        self.keeper = Keeper(self.output_dir, model, self.optimizer, self.accelerator, keep, save_extras)
        self.state = LoopState()
        self.logged = self.saved = 0  # the updates after which this was last done
        self.learning_rate = 0.0
        self.gradient_norm: Tensor | None = None
        # Sums since the last log line: loss times tokens (of this process), tokens (of all processes).
        dtype = torch.float32 if self.accelerator.device.type == "mps" else torch.float64
        self.window = torch.zeros(2, dtype=dtype, device=self.accelerator.device)
        self.reporter = Reporter(self.accelerator, self.output_dir, arguments.progress_bar)

    # ---- the run -----------------------------------------------------------------------------------------------

    def run(self) -> TrainingResult:
        """Trains to the end, and leaves in `output_dir` (and in the model) the weights that `final_weights` names."""
        self.open()
        state = self.state
        self.started = time.monotonic() - state.seconds
        self.speed_since, self.speed_ignores = time.monotonic(), state.window[1]
        self.reporter.begin(self.progress())
        self.model.train()
        while self.progress() < 1:
            self.start_epoch()
            for pieces in self.train_batches.updates(state.updates):
                self.update(pieces)
                epoch_ended = state.updates == self.epoch_size
                if epoch_ended:
                    state.epoch, state.updates = state.epoch + 1, 0
                self.tick()
                self.after_update(epoch_ended)
                if epoch_ended or self.progress() >= 1:
                    break
            else:
                raise ValueError("train_batches gave fewer updates than its length says, or none at all")
        return self.finish()

    def open(self) -> None:
        """Begins the run, or finds its way back to where it was killed."""
        resumed = (self.output_dir / RUN_FILE).is_file() and self.arguments.resume
        if resumed:
            check_identity(self.output_dir, self.identity)  # on every process, so that none waits for another
        checkpoint = last_checkpoint(self.output_dir) if resumed else None
        if checkpoint is not None:
            self.check_checkpoint(checkpoint)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            with self.keeper.staged_extras() as extras:
                if not resumed:
                    check_output_dir(self.output_dir, overwrite=self.arguments.overwrite)  # much may have come since
                    start_run(self.output_dir, self.identity, asdict(self.arguments), self.keeper.is_ours)
                for name in remove_unfinished(self.output_dir, self.keeper.is_ours):
                    self.reporter.say(f"removed {name}, which a killed run had begun to write")
                if resumed and checkpoint is None:
                    self.reporter.say("the run has no checkpoint yet: it starts from the beginning")
                if checkpoint is None:
                    self.keeper.publish_model()  # a killed run's directory loads from the very start
                self.keeper.publish_extras(extras)
        self.accelerator.wait_for_everyone()
        self.start_epoch()
        set_seed(self.arguments.seed, device_specific=True)  # dropout differs between processes
        if checkpoint is not None:
            self.load(checkpoint)
        self.reporter.forget_after(self.state.step)
        if self.arguments.report_to != "none":
            local = self.arguments.report_to == "tensorboard"
            self.accelerator.init_trackers(TRACKER_DIRECTORY if local else self.output_dir.name)

    def check_checkpoint(self, checkpoint: Path) -> None:
        """Compares a checkpoint's state with the data and the precision; changes nothing on disk.

        Raises:
            ValueError: it cannot have been written by this run; the file, the field and the remedy are named.
        """
        state = read_state_file(checkpoint)
        self.train_batches.set_epoch(state["epoch"])
        size = len(self.train_batches)
        with reading(checkpoint / STATE / STATE_FILE, remedy_for(checkpoint)):
            if state["updates"] >= max(size, 1):
                raise ValueError(f"updates={state['updates']!r}, but the epoch has {size}")
            if state["scaler"] is None and self.accelerator.scaler is not None:
                raise ValueError("scaler=None, but the run has a loss scale")

    def start_epoch(self) -> None:
        self.train_batches.set_epoch(self.state.epoch)
        self.epoch_size = len(self.train_batches)
        if self.epoch_size == 0:
            raise ValueError("the training data give no update: they are empty")

    def progress(self) -> float:
        """The part of the training that lies behind, by the limit that is nearest; 1 or more at the end."""
        arguments, state = self.arguments, self.state
        fractions = [0.0]
        if arguments.max_steps is not None:
            fractions.append(state.step / arguments.max_steps)
        if arguments.num_train_epochs is not None:
            fractions.append((state.epoch + state.updates / self.epoch_size) / arguments.num_train_epochs)
        if arguments.max_minutes is not None:
            fractions.append(state.seconds / (60 * arguments.max_minutes))
        return max(fractions)

    def tick(self) -> None:
        """Reads the clock. Where it decides something, the main process's clock counts for all."""
        seconds = time.monotonic() - self.started
        if self.arguments.needs_clock and self.accelerator.num_processes > 1:
            clock = torch.tensor(seconds, dtype=self.window.dtype, device=self.accelerator.device)
            seconds = broadcast(clock).item()
        self.state.seconds = seconds

    # ---- one update ----------------------------------------------------------------------------------------------

    def update(self, pieces: list[Piece]) -> None:
        """Forward and backward of all pieces, then one step of the optimizer; waits for nothing on the device."""
        accelerator = self.accelerator
        if accelerator.device.type != "cpu":
            pieces = send_to_device(pieces, accelerator.device, non_blocking=True)
        items = torch.stack([self.count_items(piece) for piece in pieces]).sum()
        if accelerator.num_processes > 1:
            items = accelerator.reduce(items, "sum")
        items = items.clamp(min=1)
        for number, piece in enumerate(pieces, start=1):
            # Gradients travel between the processes once per update, with those of the last piece.
            with nullcontext() if number == len(pieces) else accelerator.no_sync(self.model):
                with accelerator.autocast():
                    loss = self.compute_loss(self.model, piece, items)
                # Data parallelism takes the mean over the processes; the update's loss is their sum.
                accelerator.backward(loss * accelerator.num_processes)
            self.window[0] += loss.detach() * items
        self.window[1] += items
        if self.arguments.max_grad_norm > 0:
            self.gradient_norm = accelerator.clip_grad_norm_(self.parameters, self.arguments.max_grad_norm)
        self.learning_rate = self.schedule(self.state.step + 1, self.progress())
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        self.state.updates += 1

    def after_update(self, epoch_ended: bool) -> None:
        """Logs, evaluates and saves where it is time to."""
        arguments, state = self.arguments, self.state
        self.reporter.advance(self.progress())
        if state.step % arguments.logging_steps == 0:
            self.log()
        if self.due(arguments.evaluation_steps, arguments.evaluation_minutes, state.evaluated_at, epoch_ended):
            self.evaluate()
        if self.due(arguments.save_steps, arguments.save_minutes, state.saved_at, epoch_ended):
            self.save()

    def due(self, steps: int | None, minutes: float | None, last: float, epoch_ended: bool) -> bool:
        """Whether something is due that happens every `steps`, every `minutes` (`last` done at), or every epoch."""
        if steps is not None:
            return self.state.step % steps == 0
        if minutes is not None:
            return self.state.seconds - last >= 60 * minutes
        return epoch_ended

    # ---- metrics -------------------------------------------------------------------------------------------------

    def log(self) -> None:
        """Reports the mean loss per target token since the last time; only here the device is waited for."""
        loss_sum, tokens = self.read_window()
        now = time.monotonic()
        values = {
            "minutes": self.state.seconds / 60,
            "epoch": self.state.epoch + self.state.updates / self.epoch_size,
            "loss": loss_sum / max(tokens, 1.0),
            "learning_rate": self.learning_rate,
            "tokens_per_second": (tokens - self.speed_ignores) / max(now - self.speed_since, 1e-9),
        }
        if self.gradient_norm is not None:
            values["gradient_norm"] = float(self.gradient_norm)
        self.reporter.report(self.state.step, values, self.progress())
        self.window.zero_()
        self.logged = self.state.step
        self.speed_since, self.speed_ignores = now, 0.0

    def read_window(self) -> tuple[float, float]:
        """Loss times tokens, and tokens, of all processes since the last log line."""
        loss_sum = self.accelerator.reduce(self.window[0].clone(), "sum").item()
        if not math.isfinite(loss_sum):
            raise FloatingPointError(
                f"the loss is {loss_sum} at update {self.state.step}: the training has diverged. The last checkpoint "
                "is untouched; a lower learning_rate or learning_rate_scale, a longer warmup or max_grad_norm helps"
            )
        return loss_sum, self.window[1].item()

    def evaluate(self) -> None:
        """Computes the metrics, and keeps the weights if they are the best so far."""
        if not self.can_evaluate:
            return
        began = time.monotonic()
        self.state.evaluated = self.state.step
        self.state.metrics = self.metrics()
        self.reporter.report(
            self.state.step, {"minutes": self.state.seconds / 60} | self.state.metrics, self.progress()
        )
        if self.accelerator.is_main_process and self.arguments.best_metric is not None:
            self.keeper.keep_if_best(
                self.state.step, self.state.metrics, self.arguments.best_metric, bool(self.arguments.greater_is_better)
            )
        self.speed_since += time.monotonic() - began
        self.tick()
        self.state.evaluated_at = self.state.seconds

    def metrics(self) -> dict[str, float]:
        """The metrics of the present weights, the same on all processes; training's random numbers stay."""
        random_numbers = random_state(self.accelerator.device)
        values: dict[str, float] = {}
        self.model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            if self.validation_batches is not None:
                values |= self.validation_losses(self.validation_batches)
            if self.task_evaluate is not None:
                values |= self.task_evaluate(self.bare_model)
        self.model.train()
        set_random_state(random_numbers, self.accelerator.device)
        if self.accelerator.num_processes > 1:
            values = broadcast_object_list([values])[0]
        metric = self.arguments.best_metric
        if metric is not None and metric not in values:
            raise ValueError(f"best_metric={metric!r} is not among the metrics: {', '.join(values)}")
        return values

    def validation_losses(self, batches: Batches) -> dict[str, float]:
        """Means over all target tokens: exact for ragged batches and any number of processes."""
        tokens = torch.zeros_like(self.window[0])
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros_like(tokens))
        one = torch.ones((), device=tokens.device)
        batches.set_epoch(0)
        for pieces in batches.updates():
            for piece in send_to_device(pieces, tokens.device):
                for name, loss in self.compute_validation_losses(self.bare_model, piece, one).items():
                    sums[name] += loss
                tokens += self.count_items(piece)
        if not sums:
            raise ValueError("the validation data give no batch: they are empty")
        count, *totals = self.accelerator.reduce(torch.stack([tokens, *sums.values()]), "sum").tolist()
        means = {f"validation_{name}": total / max(count, 1.0) for name, total in zip(sums, totals, strict=True)}
        return means | {"validation_perplexity": perplexity(means["validation_loss"])}

    # ---- checkpoints ---------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes a checkpoint."""
        began = time.monotonic()
        self.saved = self.state.step
        self.state.saved_at = self.state.seconds
        self.state.window = list(self.read_window())
        self.keeper.save(self.state.step, asdict(self.state))
        self.speed_since += time.monotonic() - began

    def load(self, checkpoint: Path) -> None:
        """Restores everything as it was when `checkpoint` was written."""
        state, processes = self.keeper.load(checkpoint)
        self.state = LoopState(**state)
        self.logged = self.saved = self.state.step
        self.window[0] = self.state.window[0] if self.accelerator.is_main_process else 0.0
        self.window[1] = self.state.window[1]
        self.reporter.say(f"continuing from {checkpoint}")
        if processes != self.accelerator.num_processes:
            self.reporter.say(
                f"the run had {processes} processes and now has {self.accelerator.num_processes}: the updates are the "
                "same, but dropout draws other random numbers"
            )

    def finish(self) -> TrainingResult:
        """Leaves the final weights in `output_dir` and in the model, and says how they fare."""
        state, choice = self.state, self.arguments.final_weights
        if self.logged < state.step:
            self.log()
        if state.evaluated < state.step:
            self.evaluate()
        if self.saved < state.step:
            self.save()
        self.keeper.finish(choice)
        if choice != "last" and self.can_evaluate:
            state.metrics = self.metrics()
            self.reporter.report(state.step, {"weights": choice} | state.metrics, 1.0)
        self.model.eval()
        best = self.keeper.best()
        if best is not None:
            self.reporter.say(f"best {best['metric']}: {best['value']:.4g} at step {best['step']}")
        self.reporter.close()
        return TrainingResult(self.output_dir, state.step, state.seconds / 60, dict(state.metrics), best)
