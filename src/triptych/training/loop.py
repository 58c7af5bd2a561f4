"""The training loop. It knows no model and no task: it gets updates, a model, and an `Objective`."""

import json
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import send_to_device, set_seed
from torch import nn

from ..files import reading
from .accelerator import create_accelerator
from .arguments import FREE_ON_RESUME, LoopArguments
from .evaluation import Evaluation, check_best_metric, total_items
from .measurements import Measurements
from .objective import Batches, Objective, Piece
from .optimizer import create_optimizer
from .progress import Progress
from .reporting import Reporter
from .run_directory import CheckpointManager, LoopState, check_identity, check_output_dir
from .run_directory.checkpoints import last_checkpoint, remedy_for
from .run_directory.checks import read_state_file
from .run_directory.record import RUN_FILE, STATE, STATE_FILE, TRACKER_DIRECTORY
from .schedule import Schedule
from .sharding import DividedModel, WholeModel, is_divided

T = TypeVar("T")


@dataclass
class TrainingResult:
    """How a run ended: its updates and minutes, the metrics of the final weights, and the record of the best ones."""

    output_dir: Path
    step: int
    minutes: float
    metrics: dict[str, float]
    best: dict[str, Any] | None


class TrainingLoop:
    """
    Trains `model` on `train_batches` until the first of max_steps, num_train_epochs and max_minutes is reached.

    One item of the batches is one update of the weights. Its loss is a sum over all its pieces, on all processes,
    divided by the number of items (target tokens, for example) in all of them. Therefore neither accumulation nor data
    parallelism changes the result.

    Args:
        model: a module with `save_pretrained` and `from_pretrained`, equal on all processes.
        arguments: see `LoopArguments`.
        train_batches: see `Batches`.
        validation_batches: evaluations compute the losses of the objective over these.
        objective: what is counted, minimised and measured; by default the loss that the model returns.
        identity: the values (of model, tokenizer, data) that decide the result; a resumed run must have the same.
        accelerator: the devices and processes; by default `create_accelerator` makes one from the arguments.

    Raises:
        ValueError, FileExistsError, FileNotFoundError: the output directory may not be used (see `check_output_dir`
            and `check_identity`), or the evaluations do not give `best_metric`.
        FloatingPointError: the loss is not finite any more; the last checkpoint stays.
    """

    def __init__(
        self,
        model: nn.Module,
        arguments: LoopArguments,
        train_batches: Batches,
        *,
        validation_batches: Batches | None = None,
        objective: Objective | None = None,
        identity: dict[str, Any] | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        check_output_dir(arguments.output_dir, arguments.resume, arguments.overwrite)
        self.arguments, self.output_dir, self.train_batches = arguments, Path(arguments.output_dir), train_batches
        self.accelerator = accelerator or create_accelerator(**arguments.accelerator_options())
        self.objective = objective or Objective()
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
        self.evaluation = Evaluation(self.objective, self.bare_model, validation_batches, self.accelerator)
        check_best_metric(arguments, self.evaluation.names)
        self.weights = DividedModel(model) if is_divided(self.accelerator) else WholeModel(model)
        self.model, self.optimizer = self.prepare(self.weights.trained)
        self.state = LoopState()
        self.progress = Progress(arguments, self.state, self.accelerator)
        self.measurements = Measurements(self.accelerator)
        self.checkpoints = CheckpointManager(
            self.output_dir,
            self.weights,
            self.optimizer,
            self.accelerator,
            arguments.keep_checkpoints,
            self.objective.save_extras,
        )
        self.logged = self.saved = 0  # the updates after which this was last done
        self.reporter = Reporter(self.accelerator, self.output_dir, arguments.progress_bar)

    def prepare(self, model: nn.Module) -> tuple[nn.Module, Any]:
        """Makes the optimizer, and lets accelerate wrap it and the model."""
        arguments = self.arguments
        optimizer = create_optimizer(
            model,
            arguments.optimizer,
            betas=(arguments.adam_beta1, arguments.adam_beta2),
            eps=arguments.adam_epsilon,
            weight_decay=arguments.weight_decay,
        )
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        wrapped, optimizer = self.accelerator.prepare(model, optimizer)
        # The wrapper of accelerate copies all outputs, logits too, to float32. The loop opens autocast itself instead.
        # (accelerate's function that removes the wrapper also removes decorators of `forward` that generation needs.)
        for name in ("forward", "_original_forward"):
            vars(model).pop(name, None)
        return wrapped, optimizer

    # ---- the run -------------------------------------------------------------------------------------------------

    def run(self) -> TrainingResult:
        """Trains to the end, and leaves in `output_dir` (and in the model) the weights that `final_weights` names."""
        self.open()
        state = self.state
        self.progress.start_clock()
        self.measurements.start_clock()
        self.reporter.begin(self.progress.fraction)
        self.model.train()
        while self.progress.fraction < 1:
            self.progress.start_epoch(self.train_batches)
            start = state.updates
            for pieces, is_last in with_last(self.train_batches.updates(start)):
                self.update(pieces)
                epoch_ended = self.epoch_has_ended(is_last)
                if epoch_ended:
                    state.epoch, state.updates = state.epoch + 1, 0
                self.progress.tick()
                self.after_update(epoch_ended)
                if epoch_ended or self.progress.fraction >= 1:
                    break
            else:
                raise ValueError(f"the training data give no update from number {start} of the epoch on")
        return self.finish()

    def epoch_has_ended(self, is_last: bool) -> bool:
        """Says whether the update that was made is the last one of its epoch.

        Raises:
            ValueError: the batches end before the number of updates that their length says.
        """
        size = self.progress.epoch_size
        if is_last and size is not None and self.state.updates < size:
            raise ValueError(f"train_batches gave {self.state.updates} updates, but its length says {size}")
        return is_last or self.state.updates == size

    def open(self) -> None:
        """Begins the run, or restores the state of the run that was killed."""
        resumed = (self.output_dir / RUN_FILE).is_file() and self.arguments.resume
        if resumed:
            check_identity(self.output_dir, self.identity)  # on every process, so that none waits for another
        checkpoint = last_checkpoint(self.output_dir) if resumed else None
        if checkpoint is not None:
            self.check_checkpoint(checkpoint)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            for told in self.checkpoints.begin(self.identity, self.arguments, resumed, checkpoint):
                self.reporter.say(told)
        self.accelerator.wait_for_everyone()
        self.progress.start_epoch(self.train_batches)
        set_seed(self.arguments.seed, device_specific=True)  # dropout differs between processes
        if checkpoint is not None:
            self.load(checkpoint)
        self.reporter.forget_after(self.state.step)
        if self.arguments.report_to != "none":
            local = self.arguments.report_to == "tensorboard"
            self.accelerator.init_trackers(TRACKER_DIRECTORY if local else self.output_dir.name)

    def check_checkpoint(self, checkpoint: Path) -> None:
        """Compares the state in a checkpoint with the data and the precision of this run; changes nothing on disk.

        Raises:
            ValueError: this run cannot have written it; the message names the file, the field and the remedy.
        """
        state = read_state_file(checkpoint)
        progress = Progress(self.arguments, LoopState(epoch=state["epoch"]), self.accelerator)
        progress.start_epoch(self.train_batches)
        with reading(checkpoint / STATE / STATE_FILE, remedy_for(checkpoint)):
            if progress.epoch_size is not None and state["updates"] >= progress.epoch_size:
                raise ValueError(f"updates={state['updates']!r}, but the epoch has {progress.epoch_size}")
            if state["scaler"] is None and self.accelerator.scaler is not None:
                raise ValueError("scaler=None, but the run has a loss scale")

    # ---- one update ----------------------------------------------------------------------------------------------

    def update(self, pieces: list[Piece]) -> None:
        """Runs all pieces forward and backward, then the optimizer once; waits for nothing on the device."""
        accelerator = self.accelerator
        if accelerator.device.type != "cpu":
            pieces = send_to_device(pieces, accelerator.device, non_blocking=True)
        items = total_items(self.objective, self.bare_model, pieces, accelerator)
        weight = next(iter(items.values()))
        for number, piece in enumerate(pieces, start=1):
            # Gradients travel between the processes once per update, with those of the last piece.
            with nullcontext() if number == len(pieces) else accelerator.no_sync(self.model):
                with accelerator.autocast():
                    loss = self.objective.loss(self.model, piece, items)
                # Data parallelism takes the mean over the processes; the loss of the update is their sum.
                accelerator.backward(loss * accelerator.num_processes)
            self.measurements.add_loss(loss.detach(), weight)
        self.measurements.add_items(weight)
        self.step()

    def step(self) -> None:
        """Changes the weights by the gradients, at the learning rate of this update."""
        if self.arguments.max_grad_norm > 0:
            self.measurements.gradient_norm = self.accelerator.clip_grad_norm_(
                self.parameters, self.arguments.max_grad_norm
            )
        learning_rate = self.schedule(self.state.step + 1, self.progress.fraction)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.measurements.learning_rate = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        self.state.updates += 1

    def after_update(self, epoch_ended: bool) -> None:
        """Logs, evaluates and saves where it is time to."""
        self.reporter.advance(self.progress.fraction)
        if self.state.step % self.arguments.logging_steps == 0:
            self.log()
        if self.progress.evaluation_is_due(epoch_ended):
            self.evaluate()
        if self.progress.checkpoint_is_due(epoch_ended):
            self.save()

    # ---- what happens between updates ----------------------------------------------------------------------------

    def log(self) -> None:
        """Reports what was measured since the last log line; only here the loop waits for the device."""
        values = {"minutes": self.state.seconds / 60, "epoch": self.progress.epochs}
        values |= self.measurements.log_values(self.state.step)
        self.reporter.report(self.state.step, values, self.progress.fraction)
        self.logged = self.state.step

    def evaluate(self) -> None:
        """Computes the metrics, and keeps the weights if they are the best so far."""
        if not self.evaluation.names:
            return
        arguments, state = self.arguments, self.state
        with self.measurements.paused():
            state.evaluated = state.step
            self.weights.gather()
            state.metrics = self.metrics()
            self.reporter.report(state.step, {"minutes": state.seconds / 60} | state.metrics, self.progress.fraction)
            if self.accelerator.is_main_process and arguments.best_metric is not None:
                greater_is_better = bool(arguments.greater_is_better)
                self.checkpoints.keep_if_best(state.step, state.metrics, arguments.best_metric, greater_is_better)
        self.progress.tick()
        state.evaluated_at = state.seconds

    def metrics(self) -> dict[str, float]:
        """Returns the metrics of the present weights.

        Raises:
            ValueError: `best_metric` is not among them.
        """
        values, metric = self.evaluation(), self.arguments.best_metric
        if metric is not None and metric not in values:
            raise ValueError(f"best_metric={metric!r} is not among the metrics: {', '.join(values)}")
        return values

    def save(self) -> None:
        """Writes a checkpoint."""
        with self.measurements.paused():
            self.saved = self.state.step
            self.state.saved_at = self.state.seconds
            self.state.window = list(self.measurements.totals(self.state.step))
            self.checkpoints.save(self.state.step, asdict(self.state))

    def load(self, checkpoint: Path) -> None:
        """Restores everything as it was when `checkpoint` was written."""
        state, processes = self.checkpoints.load(checkpoint)
        vars(self.state).update(state)
        self.logged = self.saved = self.state.step
        self.measurements.restore(self.state.window)
        self.reporter.say(f"continuing from {checkpoint}")
        if processes != self.accelerator.num_processes:
            self.reporter.say(
                f"the run had {processes} processes and now has {self.accelerator.num_processes}: the updates are the "
                "same, but dropout draws other random numbers"
            )

    def finish(self) -> TrainingResult:
        """Leaves the final weights in `output_dir` and in the model, and returns their metrics."""
        state, choice = self.state, self.arguments.final_weights
        if self.logged < state.step:
            self.log()
        if state.evaluated < state.step:
            self.evaluate()
        if self.saved < state.step:
            self.save()
        self.checkpoints.finish(choice)
        if choice != "last" and self.evaluation.names:
            state.metrics = self.metrics()
            self.reporter.report(state.step, {"weights": choice} | state.metrics, 1.0)
        self.model.eval()
        best = self.checkpoints.best()
        if best is not None:
            self.reporter.say(f"best {best['metric']}: {best['value']:.4g} at step {best['step']}")
        self.reporter.close()
        return TrainingResult(self.output_dir, state.step, state.seconds / 60, dict(state.metrics), best)


def with_last(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Gives each item, and whether it is the last one; only this tells where a stream ends."""
    iterator = iter(items)
    for current in iterator:
        for following in iterator:
            yield current, False
            current = following
        yield current, True
