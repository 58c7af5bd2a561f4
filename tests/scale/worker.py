"""One of the processes that share a model: does the jobs that conftest.py names on its standard input.

The processes meet at the file that the command line names: worker.py FILE.

A job is a file with a saved model, a batch, and the strategy that divides them; the answer is a file beside it, one
for each process. What every strategy answers: the losses of a batch before and after one step of gradient descent,
the gradients, whole, and which share of the parameters this process held.
"""

import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers.distributed import DistributedConfig

import triptych

LEARNING_RATE = 0.5
Job = dict[str, Any]
Answer = dict[str, Any]


def load(job: Job, **division: int) -> nn.Module:
    """The saved model in evaluation mode, divided by transformers where a division is given."""
    options = {"distributed_config": DistributedConfig(**division)} if division else {}
    return getattr(triptych, job["head"]).from_pretrained(job["model"], **options).eval()


def my_rows(batch: dict[str, Any]) -> dict[str, Any]:
    """Every second row: what this process sees of the batch where the data are divided."""
    part = slice(dist.get_rank(), None, dist.get_world_size())
    return {name: value[part] if torch.is_tensor(value) else value for name, value in batch.items()}


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be divided, a copy."""
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()


def share_held(model: nn.Module) -> float:
    """The share of the model's parameters that this process holds."""
    parameters = list(model.parameters())
    held = [p.to_local() if hasattr(p, "to_local") else p for p in parameters]
    return sum(p.numel() for p in held) / sum(p.numel() for p in parameters)


def total(loss: Tensor, batch: dict[str, Any]) -> float:
    """The loss of the whole batch: a sum over the processes, or a mean where nobody counts the labels."""
    loss = loss.detach().clone()
    dist.all_reduce(loss)
    return loss.item() if "num_items_in_batch" in batch else loss.item() / dist.get_world_size()


def times(batch: dict[str, Any]) -> int:
    """What makes the average over processes of the gradients of a sum a sum again."""
    return dist.get_world_size() if "num_items_in_batch" in batch else 1


def descend(model: nn.Module, batch: dict[str, Any], rows_are_divided: bool = False) -> Answer:
    """The answer for a model that takes the gradients itself."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    answer: Answer = {"losses": [], "share": share_held(model)}
    for _ in range(2):
        loss = model(**batch).loss
        answer["losses"].append(total(loss, batch) if rows_are_divided else loss.item())
        optimizer.zero_grad()
        (loss * times(batch) if rows_are_divided else loss).backward()
        if "gradients" not in answer:
            answer["gradients"] = {n: whole(p.grad) for n, p in model.named_parameters() if p.grad is not None}
            optimizer.step()
    return answer


def saved(model: nn.Module, job: Job, answer: Answer) -> Answer:
    """The answer; the model, as the step has left it, is saved if the job says where."""
    if "save_to" in job:
        model.save_pretrained(job["save_to"])
    return answer


def alone(job: Job) -> Answer:
    """One process, the whole batch: what all others must equal."""
    model = load(job)
    return saved(model, job, descend(model, job["batch"]))


def data_parallel(job: Job) -> Answer:
    """DDP. The second pass fails if the first left a parameter without a gradient."""
    model = DistributedDataParallel(load(job))
    answer = descend(model, my_rows(job["batch"]), rows_are_divided=True)
    answer["gradients"] = {name.removeprefix("module."): g for name, g in answer["gradients"].items()}
    return answer


def tensor_parallel(job: Job) -> Answer:
    """Every process sees all rows and holds some of the heads, inner features and words."""
    model = load(job, tp_size=2)
    return saved(model, job, descend(model, job["batch"]))


def fully_sharded(job: Job) -> Answer:
    """FSDP2: every process sees its rows and holds half of every parameter."""
    model = load(job, fsdp_size=2)
    return saved(model, job, descend(model, my_rows(job["batch"]), rows_are_divided=True))


def fully_sharded_by_accelerate(job: Job) -> Answer:
    """FSDP2 as Accelerate divides a model on GPUs: by layers, embeddings and head. On a CPU it has to be asked."""
    from accelerate import FullyShardedDataParallelPlugin
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model

    policy = {"auto_wrap_policy": "transformer_based_wrap", "cpu_ram_efficient_loading": False}
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, **policy)
    accelerator = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin), mixed_precision="no", device="cpu")
    model = fsdp2_prepare_model(accelerator, load(job))
    return descend(model, my_rows(job["batch"]), rows_are_divided=True)


def generate(job: Job) -> Answer:
    """Tokens of a divided model, greedy."""
    model = load(job, **job["division"])
    return {"tokens": model.generate(job["batch"]["input_ids"], max_new_tokens=8, do_sample=False, pad_token_id=0)}


def refuse(job: Job) -> Answer:
    """The message of the ValueError that a division of the model raises."""
    try:
        load(job, **job["division"])
    except ValueError as error:
        return {"message": str(error)}
    return {"message": ""}


def zero(job: Job) -> Answer:
    """DeepSpeed ZeRO through Accelerate; stage 3 divides the model while it is loaded."""
    import deepspeed
    from accelerate import Accelerator, DeepSpeedPlugin, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState
    from deepspeed.utils import safe_get_full_grad

    # Its kernel for processes of one machine is compiled on first use, which takes minutes; gloo needs none.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    AcceleratorState._reset_state(True)
    third = job["stage"] == 3
    plugin = DeepSpeedPlugin(zero_stage=job["stage"], gradient_accumulation_steps=1, zero3_init_flag=third)
    plugin.deepspeed_config |= {"train_micro_batch_size_per_gpu": 2, "zero_allow_untested_optimizer": True}
    plugin.deepspeed_config["gradient_clipping"] = 0.0  # which Accelerate would set to 1
    if third:  # else parameters as small as these stay whole
        plugin.deepspeed_config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    # Without the backend's name Accelerate counts one process where there is no accelerator.
    accelerator = Accelerator(deepspeed_plugin=plugin, kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")])
    assert accelerator.num_processes == dist.get_world_size()
    model = load(job)
    engine, _ = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=LEARNING_RATE))
    engine.eval()  # preparing has set it to train
    parameters = list(model.parameters())
    held = sum(getattr(p, "ds_tensor", p).numel() for p in parameters)
    answer: Answer = {"losses": [], "share": held / sum(getattr(p, "ds_numel", p.numel()) for p in parameters)}
    batch = my_rows(job["batch"])
    for _ in range(2):
        loss = engine(**batch).loss
        answer["losses"].append(total(loss, batch))
        engine.backward(loss * times(batch))  # Accelerate's own would step at once, and the gradients be gone
        found = {name: safe_get_full_grad(parameter) for name, parameter in model.named_parameters()}
        answer.setdefault("gradients", {name: whole(g) for name, g in found.items() if g is not None})
        engine.step()
    return answer


STRATEGIES = {
    strategy.__name__: strategy
    for strategy in (
        data_parallel,
        tensor_parallel,
        fully_sharded,
        fully_sharded_by_accelerate,
        zero,
        generate,
        refuse,
    )
}


def jobs() -> Iterator[Path]:
    yield from (Path(line.rstrip("\n")) for line in sys.stdin)


def main() -> None:
    torch.set_num_threads(1)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=Path(sys.argv[1]).as_uri(), rank=rank, world_size=size)
    for path in jobs():
        job = torch.load(path)
        try:
            answer = STRATEGIES[job["strategy"]](job)
        except Exception:
            answer = {"error": traceback.format_exc()}
        unfinished = path.with_suffix(f".{dist.get_rank()}.partial")
        torch.save(answer, unfinished)
        os.replace(unfinished, unfinished.with_suffix(""))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
