"""The directory of a run: its files, its checkpoints, and what a resumed run reads from it."""

from .averaging import average_checkpoints
from .checkpoint_manager import CheckpointManager
from .directory import check_identity, check_output_dir, start_run
from .loop_state import LoopState

__all__ = [
    "CheckpointManager",
    "LoopState",
    "average_checkpoints",
    "check_identity",
    "check_output_dir",
    "start_run",
]
