"""The devices and processes of a run."""

import importlib.util
import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, FullyShardedDataParallelPlugin
from accelerate.utils import DistributedType, parse_flag_from_env

UNSUPPORTED = (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


def create_accelerator(
    mixed_precision: str | None = None,
    cpu: bool = False,
    cpu_threads: int | None = None,
    tracker: str = "none",
    tracker_directory: str | Path | None = None,
) -> Accelerator:
    """
    Makes an accelerator for the devices and processes that `accelerate launch` or torchrun gives. Without these there
    is one process; without a GPU, the CPU is used.

    Args:
        mixed_precision: no, bf16 or fp16; by default what `accelerate launch` says.
        cpu: use the CPU even where there is a faster device.
        cpu_threads: the number of threads of each process on a CPU; by default its share of the cores.
        tracker, tracker_directory: the name of a tracker of accelerate, and the directory where it may write.

    Raises:
        ValueError: the tracker is not installed; the device lacks the precision; or the training is sharded, for which
            the loop has no checkpoints.
    """
    if tracker != "none" and importlib.util.find_spec(tracker) is None:
        raise ValueError(f"report_to={tracker}: that package is not installed; pip install {tracker} or give none")
    accelerator = Accelerator(
        mixed_precision=mixed_precision,
        # Without this, processes started on a machine without a GPU would each train alone, unaware of the others.
        cpu=cpu or not torch.accelerator.is_available(),
        log_with=None if tracker == "none" else tracker,
        project_dir=None if tracker_directory is None else str(tracker_directory),
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    if accelerator.distributed_type in UNSUPPORTED:
        raise ValueError(
            f"{accelerator.distributed_type.value} is not supported by this loop; FSDP2 divides a model as well: "
            "accelerate launch --use_fsdp --fsdp_version 2"
        )
    if accelerator.distributed_type is DistributedType.MULTI_CPU and parse_flag_from_env("ACCELERATE_USE_FSDP"):
        # accelerate divides a model on GPUs only, and would train whole copies here without a word.
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        accelerator.state.distributed_type = DistributedType.FSDP
    if accelerator.distributed_type is DistributedType.FSDP and not accelerator.is_fsdp2:
        raise ValueError("FSDP of version 1 is not supported; give --fsdp_version 2 to accelerate launch")
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes < started:
        raise ValueError(
            f"{started} processes were started, but {accelerator.num_processes} found each other; try --cpu"
        )
    if accelerator.device.type == "cpu" and accelerator.mixed_precision == "fp16":
        # accelerate would train in float32 without a word; torch has both parts of mixed precision for the CPU, too.
        accelerator.native_amp, accelerator.scaler = True, torch.amp.GradScaler("cpu")
    if accelerator.device.type == "cpu":
        torch.set_num_threads(cpu_threads or available_threads())
    return accelerator


def available_threads() -> int:
    """
    Returns the number of threads for this process: its share of the cores that the processes of this machine may use.

    `accelerate launch` and torchrun set OMP_NUM_THREADS=1 where the user has set nothing, which leaves all cores but
    one idle. Therefore a 1 does not count as the user's wish (`cpu_threads=1` is the way to say it); any other number
    does.
    """
    wish = os.environ.get("OMP_NUM_THREADS", "")
    if wish.isdigit() and int(wish) > 1:
        return int(wish)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(allowed, psutil.cpu_count(logical=False) or allowed)
    return max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
