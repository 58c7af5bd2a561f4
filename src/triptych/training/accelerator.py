"""The devices and processes of a run."""

import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, FullyShardedDataParallelPlugin
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import DistributedType, parse_flag_from_env

from ..configuration.fields import meant
from ..data.quantities import counted
from . import zero
from .launchers import wished_threads

UNSUPPORTED = (DistributedType.MEGATRON_LM,)


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
        tracker: names of trackers of accelerate, with commas between them; see `tracker_names`.
        tracker_directory: where they may write.

    Raises:
        ValueError: there is no such tracker, or it is not installed; the device lacks the precision; or the model is
            to be divided in a way, or with settings, for which the loop has no checkpoints.
    """
    trackers = tracker_names(tracker)
    with_deepspeed = zero.is_wanted()
    accelerator = Accelerator(
        mixed_precision=mixed_precision,
        # Without this, processes started on a machine without a GPU would each train alone, unaware of the others.
        # (DeepSpeed counts them by itself; for accelerate, `cpu` means: without DeepSpeed.)
        cpu=(cpu or not torch.accelerator.is_available()) and not with_deepspeed,
        log_with=trackers or None,
        project_dir=None if tracker_directory is None else str(tracker_directory),
        kwargs_handlers=[
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
            *(zero.prepare_process(cpu) if with_deepspeed else ()),
        ],
    )
    if accelerator.distributed_type in UNSUPPORTED:
        raise ValueError(
            f"{accelerator.distributed_type.value} is not supported by this loop; FSDP2 divides a model as well: "
            "accelerate launch --use_fsdp --fsdp_version 2"
        )
    if with_deepspeed:
        zero.configure(accelerator)
    if accelerator.distributed_type is DistributedType.MULTI_CPU and parse_flag_from_env("ACCELERATE_USE_FSDP"):
        # accelerate divides a model on GPUs only, and would train whole copies here without a word.
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        accelerator.state.distributed_type = DistributedType.FSDP
    if accelerator.distributed_type is DistributedType.FSDP and not accelerator.is_fsdp2:
        raise ValueError("FSDP of version 1 is not supported; give --fsdp_version 2 to accelerate launch")
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes < started:
        found = accelerator.num_processes
        raise ValueError(
            f"{counted(started, 'processes were', one='process was')} started, but {found} found each other; try --cpu"
        )
    if accelerator.device.type == "cpu" and accelerator.mixed_precision == "fp16":
        # accelerate would train in float32 without a word; torch has both parts of mixed precision for the CPU, too.
        accelerator.native_amp, accelerator.scaler = True, torch.amp.GradScaler("cpu")
    if accelerator.device.type == "cpu":
        torch.set_num_threads(cpu_threads or available_threads())
    return accelerator


def tracker_names(report_to: str) -> list[str]:
    """
    Returns the trackers that a list such as `tensorboard,wandb` names; `all` are those that are installed.

    Raises:
        ValueError: accelerate has no such tracker, or it is not installed.
    """
    known, installed = list(LOGGER_TYPE_TO_CLASS), [str(tracker) for tracker in get_available_trackers()]
    words = [word.strip() for word in report_to.split(",") if word.strip()]
    if words in ([], ["none"]):
        return []
    if words == ["all"]:
        return installed
    for word in words:
        if word not in known:
            raise ValueError(
                f"report_to={report_to}: there is no tracker {word}{meant(word, known)}; choose from "
                f"{', '.join(known)}, several with commas, or all, or none"
            )
        if word not in installed:
            package = word.replace("_", "-")
            raise ValueError(f"report_to={report_to}: {word} is not installed; pip install {package} or leave it out")
    return list(dict.fromkeys(words))


def available_threads() -> int:
    """Returns the number of threads for this process: the number in OMP_NUM_THREADS where the user has set it (see
    `wished_threads`), else its share of the cores that the processes of this machine may use."""
    wish = wished_threads()
    if wish is not None:
        return wish
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(allowed, psutil.cpu_count(logical=False) or allowed)
    return max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
