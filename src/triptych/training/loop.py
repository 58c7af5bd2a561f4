"""The training loop. It knows no model and no task: it gets updates, a model, and an `Objective`."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn

from ..data.quantities import counted
from ..files import reading
from .accelerator import create_accelerator, tracker_names
from .arguments import FREE_ON_RESUME, LoopArguments
from .evaluation import Evaluation, check_best_metric
from .interruption import Interrupted, Interruption
from .measurements import Measurements
from .objective import Batches, Objective, Piece
from .progress import Progress
from .reporting import Reporter
from .run_directory import CheckpointManager, LoopState, check_identity, check_output_dir
from .run_directory.checkpoints import last_checkpoint, remedy_for
from .run_directory.checks import read_state_file
from .run_directory.loop_state import is_better
from .run_directory.record import RUN_FILE, STATE, STATE_FILE
from .strategies import check_strategy, strategy_of
from .updater import Updater, greatest

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
            and `check_identity`), or the evaluations do not give `best_metric`; or the model, the batches or the
            number of processes do not allow an option.
        FloatingPointError: the loss is not finite any more; the last checkpoint stays.
        Interrupted: a signal has stopped the run; its checkpoint is saved.
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
        check_strategy(self.accelerator, arguments)
        self.objective = objective or Objective()
        fixed = {f"arguments.{k}": v for k, v in asdict(arguments).items() if k not in FREE_ON_RESUME}
        self.identity = json.loads(json.dumps(fixed | (identity or {})))
        self.bare_model = model.to(self.accelerator.device)
        self.evaluation = Evaluation(self.objective, self.bare_model, validation_batches, self.accelerator)
        check_best_metric(arguments, self.evaluation.names)
        self.check_find_batch_size()
        self.weights = strategy_of(self.accelerator)(model, self.accelerator)
        self.state = LoopState()
        self.progress = Progress(arguments, self.state, self.accelerator)
        self.measurements = self.new_measurements()
        self.updater = Updater(self.weights, arguments, self.objective, self.measurements, self.accelerator)
        self.model, self.optimizer = self.updater.model, self.weights.optimizer
        self.interruption = Interruption(self.accelerator)
        self.checkpoints = CheckpointManager(
            self.output_dir,
            self.weights,
            self.accelerator,
            arguments.keep_checkpoints,
            self.objective.save_extras,
        )
        self.logged = self.saved = 0  # the updates after which this was last done
        trackers = tracker_names(arguments.report_to)
        self.reporter = Reporter(self.accelerator, self.output_dir, arguments.progress_bar, trackers)

    def new_measurements(self) -> Measurements:
        """Returns what measures the updates from now on."""
        return Measurements(self.accelerator, self.bare_model, self.objective.sides)

    def check_find_batch_size(self) -> None:
        """Raises ValueError if `find_batch_size` is given where it cannot work."""
        if not self.arguments.find_batch_size:
            return
        if not hasattr(self.train_batches, "cut_into"):
            kind = type(self.train_batches).__name__
            raise ValueError(f"find_batch_size needs batches with a method cut_into, which {kind} lacks; leave it out")

    # ---- the run -------------------------------------------------------------------------------------------------

    def run(self) -> TrainingResult:
        """Trains to the end, and leaves in `output_dir` (and in the model) the weights that `final_weights` names."""
        self.open()
        self.progress.start_clock()
        self.measurements.start_clock()
        if self.progress.expected_steps is not None:
            self.warn_of_warmup(self.progress.expected_steps)
        self.reporter.begin(self.progress.fraction)
        self.model.train()
        try:
            with self.interruption.watched():
                self.train()
                return self.finish()
        finally:
            self.reporter.close()

    def train(self) -> None:
        """Makes updates until a limit is reached, or an evaluation or a signal ends the run."""
        state = self.state
        while not self.is_over:
            self.progress.start_epoch(self.train_batches)
            start = state.updates
            for pieces, is_last in with_last(self.train_batches.updates(start)):
                if not self.update(pieces):
                    break  # the update is made again, in smaller pieces
                epoch_ended = self.epoch_has_ended(is_last)
                if epoch_ended:
                    state.epoch, state.updates = state.epoch + 1, 0
                self.progress.tick()
                self.after_update(epoch_ended)
                if epoch_ended or self.is_over:
                    break
            else:
                raise ValueError(f"the training data give no update from number {start} of the epoch on")

    @property
    def is_over(self) -> bool:
        """Says whether a limit is reached, or the metric has not become better for as long as the options allow."""
        patience = self.arguments.early_stopping_patience
        return self.progress.fraction >= 1 or (patience is not None and self.state.stale >= patience)

    def warn_of_warmup(self, steps: int) -> None:
        """Tells the user where a training of so many updates lies within the warmup."""
        schedule = self.updater.schedule
        if schedule.warmup_ratio is None and steps < schedule.warmup_steps:
            self.reporter.say(
                f"warning: the training ends after {counted(steps, 'updates')}, within the warmup of "
                f"{schedule.warmup_steps:,}: the learning rate never reaches its peak. Give --warmup_steps a smaller "
                "number, or train longer"
            )

    def epoch_has_ended(self, is_last: bool) -> bool:
        """Says whether the update that was made is the last one of its epoch.

        Raises:
            ValueError: the batches end before the number of updates that their length says.
        """
        size = self.progress.epoch_size
        if is_last and size is not None and self.state.updates < size:
            raise ValueError(
                f"train_batches gave {counted(self.state.updates, 'updates')}, but its length says {size}"
            )
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
        self.reporter.start_trackers()

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

    # ---- updates -------------------------------------------------------------------------------------------------

    def update(self, pieces: list[Piece]) -> bool:
        """Makes an update; where the memory is too small for it, sees to it that it comes in smaller pieces next time.

        Returns:
            Whether the update was made.
        """
        state = self.state
        if not self.updater.update(pieces, state.step + 1, self.progress.fraction):
            self.cut_finer(pieces)
            return False
        state.step += 1
        state.updates += 1
        return True

    def cut_finer(self, pieces: list[Piece]) -> None:
        """Lets all updates from now on come in twice as many pieces, on all processes.

        Raises:
            ValueError: the pieces of all processes are single rows already.
        """
        if greatest(max(len(next(iter(piece.values()))) for piece in pieces), self.accelerator) <= 1:
            raise ValueError(
                "the memory is too small for an update of one row at a time: take a smaller model, shorter rows, "
                "gradient_checkpointing or another precision"
            )
        self.cut_into(2 * len(pieces))
        self.reporter.say(f"out of memory: updates are now made in {self.state.pieces} pieces, with the same result")

    def cut_into(self, pieces: int) -> None:
        """Sets into how many pieces the updates and the evaluations are cut."""
        self.state.pieces = pieces
        for batches in (self.train_batches, self.evaluation.batches):
            if batches is not None and hasattr(batches, "cut_into"):
                batches.cut_into(pieces)

    def after_update(self, epoch_ended: bool) -> None:
        """Logs, evaluates and saves where it is time to, and stops where a signal asks for it.

        Raises:
            Interrupted: the run was asked to stop, and its checkpoint is saved.
        """
        self.reporter.advance(self.progress.fraction, self.measurements.so_far)
        if self.state.step - self.logged >= self.progress.logging_steps:
            self.log()
        if self.progress.evaluation_is_due(epoch_ended):
            self.evaluate()
        if self.progress.checkpoint_is_due(epoch_ended):
            self.save()
        if self.interruption.wanted():
            if self.saved < self.state.step:
                self.save(scheduled=False)
            self.stop()

    def stop(self) -> NoReturn:
        """Ends the run after a checkpoint, because a signal asks for it.

        Raises:
            Interrupted: always.
        """
        raise Interrupted(self.interruption.number, self.output_dir / f"checkpoint-{self.state.step}")

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
            if arguments.best_metric is not None:
                self.compare(arguments.best_metric, bool(arguments.greater_is_better))
        self.progress.tick()
        state.evaluated_at = state.seconds

    def compare(self, metric: str, greater_is_better: bool) -> None:
        """Compares the metrics with the best so far: keeps better weights, and counts evaluations without any."""
        state = self.state
        if self.accelerator.is_main_process:
            self.checkpoints.keep_if_best(state.step, state.metrics, metric, greater_is_better)
        if is_better(state.metrics[metric], state.best.get(metric, math.nan), greater_is_better):
            state.best, state.stale = {metric: state.metrics[metric]}, 0
        else:
            state.stale += 1

    def metrics(self) -> dict[str, float]:
        """Returns the metrics of the present weights.

        Raises:
            ValueError: `best_metric` is not among them.
        """
        values, metric = self.evaluation(), self.arguments.best_metric
        if metric is not None and metric not in values:
            raise ValueError(f"best_metric={metric!r} is not among the metrics: {', '.join(values)}")
        return values

    def save(self, scheduled: bool = True) -> None:
        """Writes a checkpoint; one that is not `scheduled` changes nothing in what the run does later."""
        with self.measurements.paused():
            self.saved, self.state.scheduled = self.state.step, scheduled
            if scheduled:
                self.state.saved_at = self.state.seconds
            self.state.window = self.measurements.totals(self.state.step)
            self.checkpoints.save(self.state.step, asdict(self.state))

    def load(self, checkpoint: Path) -> None:
        """Restores everything as it was when `checkpoint` was written."""
        state, processes = self.checkpoints.load(checkpoint)
        vars(self.state).update(state)
        self.saved = self.state.step
        self.logged = self.state.step
        if self.state.window[1]:  # what is not yet logged will be
            self.logged -= max(self.state.step % self.progress.logging_steps, 1)
        if self.state.pieces and self.arguments.find_batch_size:
            self.cut_into(self.state.pieces)
        self.measurements.restore(self.state.window)
        self.reporter.say(f"continuing from {checkpoint}")
        if processes != self.accelerator.num_processes:
            self.reporter.say(
                f"the run had {counted(processes, 'processes', one='process')} and now has "
                f"{self.accelerator.num_processes}: the updates are the same, but dropout draws other random numbers"
            )

    def finish(self) -> TrainingResult:
        """Leaves the final weights in `output_dir` and in the model, and returns their metrics.

        Raises:
            Interrupted: a signal came meanwhile; the checkpoint is saved, and a resumed run does the rest.
        """
        state, choice = self.state, self.arguments.final_weights
        if self.progress.expected_steps is None:
            self.warn_of_warmup(state.step)
        if self.progress.fraction < 1:
            self.reporter.say(
                f"stopped early: {counted(state.stale, 'evaluations')} without a better {self.arguments.best_metric}"
            )
        if self.logged < state.step:
            self.log()
        if state.evaluated < state.step:
            self.evaluate()
        if self.saved < state.step or not state.scheduled:
            self.save()
        if self.interruption.wanted(wait=True):
            self.stop()
        self.checkpoints.finish(choice)
        if choice != "last" and self.evaluation.names:
            state.metrics = self.metrics()
            self.reporter.report(state.step, {"weights": choice} | state.metrics, 1.0)
        self.model.eval()
        best = self.checkpoints.best()
        if best is not None:
            self.reporter.say(f"best {best['metric']}: {best['value']:.4g} at step {best['step']}")
        return TrainingResult(self.output_dir, state.step, state.seconds / 60, dict(state.metrics), best)


def with_last(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Gives each item, and whether it is the last one; only this tells where a stream ends."""
    iterator = iter(items)
    for current in iterator:
        for following in iterator:
            yield current, False
            current = following
        yield current, True
