"""Not in transformers' source distribution: processes on this machine's CPU that talk through gloo."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from transformers import AutoModelForCausalLM

import triptych


def _get_distributed_device_type() -> str:
    return "cpu"


def _get_distributed_backend() -> str:
    return "gloo"


def _get_rank_device(rank: int) -> torch.device:
    return torch.device("cpu")


def _set_rank_device(rank: int) -> None:
    torch.set_num_threads(1)


def _start_rank_processes(function: Callable[..., None], args: tuple[Any, ...], nprocs: int) -> None:
    """function(rank, *args) in `nprocs` processes: copies of one that has the imports behind it."""
    mp.get_context("forkserver").set_forkserver_preload(["transformers.modeling_utils", "triptych"])
    mp.start_processes(_rank_process, (function, args), nprocs, start_method="forkserver")


def _rank_process(rank: int, function: Callable[..., None], args: tuple[Any, ...]) -> None:
    # FSDP's mixin divides what AutoModelForCausalLM makes of a configuration; here, of each family's.
    for model_class in (triptych.TriptychForConditionalGeneration, triptych.TriptychEncoderForMaskedLM):
        AutoModelForCausalLM.register(model_class.config_class, model_class, exist_ok=True)
    function(rank, *args)


def _in_group(rank: int, function: Callable[..., None], args: tuple[Any, ...], world_size: int, meeting: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
    _set_rank_device(rank)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world_size)
    try:
        function(rank, *args)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def run_distributed(world_size: int) -> Callable[..., Callable[..., None]]:
    """run_distributed(n)(function)(*args) calls function(rank, *args) in n processes of one group."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def run(*args: Any) -> None:
            with tempfile.TemporaryDirectory() as folder:
                meeting = str(Path(folder) / "meeting")
                _start_rank_processes(_in_group, (function, args, world_size, meeting), world_size)

        return run

    return decorate
