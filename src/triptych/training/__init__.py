"""One training loop on top of accelerate, with the paper's optimizer and schedule; it knows no model and no task."""

from .accelerator import create_accelerator
from .arguments import LoopArguments
from .loop import TrainingLoop, TrainingResult
from .objective import Batches, Objective
from .optimizer import create_optimizer
from .run_directory import average_checkpoints, check_output_dir
from .schedule import SCHEDULES, Schedule, lambda_lr

__all__ = [
    "SCHEDULES",
    "Batches",
    "LoopArguments",
    "Objective",
    "Schedule",
    "TrainingLoop",
    "TrainingResult",
    "average_checkpoints",
    "check_output_dir",
    "create_accelerator",
    "create_optimizer",
    "lambda_lr",
]
