"""One training loop on top of accelerate, the tasks that run on it, and the directory of a run."""

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
