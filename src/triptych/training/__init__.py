"""One training loop on top of accelerate, with the paper's optimizer and schedule; it knows no model and no task."""

from .accelerator import create_accelerator
from .arguments import LoopArguments
from .averaging import average_checkpoints
from .loop import Batches, TrainingLoop, TrainingResult
from .optimizer import create_optimizer
from .run import check_output_dir
from .schedule import SCHEDULES, Schedule, lambda_lr

__all__ = [
    "SCHEDULES",
    "Batches",
    "LoopArguments",
    "Schedule",
    "TrainingLoop",
    "TrainingResult",
    "average_checkpoints",
    "check_output_dir",
    "create_accelerator",
    "create_optimizer",
    "lambda_lr",
]
