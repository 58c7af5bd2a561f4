"""Training with DeepSpeed's ZeRO (Rajbhandari et al. 2020), beside a whole copy of the model.

Stage 1 divides the state of the optimizer over the processes, stage 2 the gradients too, stage 3 the parameters too.
The weights are trained in float32, and the optimizer is torch's own. So an update is that of one process, and a
checkpoint is that of a whole model, which any number of processes can continue.
"""

import copy
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import KwargsHandler, parse_flag_from_env
from torch import Tensor, nn

from .optimizer import ELEMENTWISE
from .sharding import WholeModel, by_parameter, plain_names

if TYPE_CHECKING:
    from .arguments import LoopArguments

NOT_GIVEN = (None, "auto")
UPDATES = "say with --max_tokens how large an update is"
OFFLOAD = "this loop can offload to the cpu only"
PRECISION = "the weights are trained in float32; bf16 computes in bfloat16"
# Setting of DeepSpeed → the values that this loop can do, and what to do instead.
POSSIBLE: dict[str, tuple[tuple[Any, ...], str]] = {
    "zero_optimization.stage": (
        (1, 2, 3),
        "give 1, 2 or 3, or leave out --use_deepspeed: 0 is plain data parallelism",
    ),
    "zero_optimization.offload_optimizer.device": ((None, "none", "cpu"), OFFLOAD),
    "zero_optimization.offload_param.device": ((None, "none", "cpu"), OFFLOAD),
    "train_batch_size": (NOT_GIVEN, UPDATES),
    "train_micro_batch_size_per_gpu": (NOT_GIVEN, UPDATES),
    "optimizer": ((None,), "choose it with --optimizer"),
    "scheduler": ((None,), "choose it with --lr_scheduler"),
    "fp16.enabled": ((None, False, "auto"), PRECISION),
    "amp.enabled": ((None, False), PRECISION),
}
# Setting of DeepSpeed → the option of the loop that says the same, and a value of the setting that says nothing.
OPTIONS = {
    "gradient_clipping": ("max_grad_norm", 0),
    "gradient_accumulation_steps": ("gradient_accumulation_steps", 1),
}


def is_wanted() -> bool:
    """Says whether `accelerate launch` asks for DeepSpeed."""
    return bool(parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"))


def prepare_process(cpu: bool) -> list[KwargsHandler]:
    """Readies this process for DeepSpeed, and returns what accelerate has to be told.

    Args:
        cpu: use the CPU even where there is a faster device.

    Raises:
        ValueError: there is a faster device, which DeepSpeed would use.
    """
    on_cpu = not torch.accelerator.is_available()
    if cpu and not on_cpu:
        raise ValueError("--cpu: DeepSpeed takes the faster devices that it finds; hide them: CUDA_VISIBLE_DEVICES=''")
    if on_cpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    for handler in deepspeed.utils.logger.handlers:  # standard output is for results
        handler.setStream(sys.stderr)
    if not on_cpu:
        return []
    # Its kernel for the processes of one machine would be compiled now, which takes minutes.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # Without the name of the backend, accelerate counts one process where there is no faster device.
    return [InitProcessGroupKwargs(backend="gloo")]


def configure(accelerator: Accelerator) -> None:
    """Checks the settings of DeepSpeed, and lets accelerate compute in the precision that was asked for.

    Raises:
        ValueError: this loop cannot train with a setting; the message names it with the remedy.
    """
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    plugin = accelerator.deepspeed_plugin
    for name, (possible, remedy) in POSSIBLE.items():
        if (value := plugin.get_value(name)) not in possible:
            raise ValueError(f"DeepSpeed's setting {name}={value} is not possible here; {remedy}")
    # accelerate leaves autocast to DeepSpeed, which evaluations of the whole copy do not go through.
    accelerator.native_amp = accelerator.mixed_precision == "bf16"
    # With these, stage 3 would divide each model that transformers loads, the whole copy too.
    plugin.dschf = None
    unset_hf_deepspeed_config()


class ZeroModel(WholeModel):
    """A model of which DeepSpeed's engine trains a copy."""

    optimizers = ELEMENTWISE

    def __init__(self, model: nn.Module, accelerator: Accelerator) -> None:
        super().__init__(model, accelerator)
        self.trained = copy.deepcopy(model)
        self.words = f"DeepSpeed ZeRO stage {accelerator.deepspeed_plugin.get_value('zero_optimization.stage')}"

    @classmethod
    def check(cls, accelerator: Accelerator, arguments: "LoopArguments") -> None:
        """Extends `WholeModel.check`."""
        if arguments.optimizer not in cls.optimizers:
            raise ValueError(
                f"optimizer={arguments.optimizer} needs whole matrices, which DeepSpeed divides: give --optimizer "
                f"{' or '.join(cls.optimizers)}, or train without DeepSpeed"
            )
        for option in ("torch_compile", "find_batch_size"):
            if getattr(arguments, option):
                raise ValueError(f"{option} is not possible with DeepSpeed: leave it out, or train without DeepSpeed")
        for setting, (option, nothing) in OPTIONS.items():
            value, wanted = accelerator.deepspeed_plugin.get_value(setting), getattr(arguments, option)
            if value not in (*NOT_GIVEN, nothing, wanted):
                raise ValueError(
                    f"DeepSpeed's setting {setting}={value} and --{option} {wanted} differ: give --{option} {value}, "
                    "or leave the setting out"
                )

    @property
    def zero(self) -> Any:
        """DeepSpeed's optimizer, which divides the work of torch's."""
        return self.wrapped.optimizer

    @property
    def partitions(self) -> list[Tensor]:
        """What torch's optimizer changes: the parts of this process of all parameters, in one dimension."""
        names = ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups")  # stage 3; the others
        found: list[Tensor] = next(getattr(self.zero, name) for name in names if hasattr(self.zero, name))
        return found

    def prepare(self, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> None:
        """Extends `WholeModel.prepare`."""
        self.max_grad_norm, self.base = max_grad_norm, optimizer
        settings = self.accelerator.deepspeed_plugin.deepspeed_config
        given = dict(settings)
        settings |= {
            # The sizes say nothing here, but DeepSpeed compares them. The loop says which piece is the last one.
            "train_batch_size": self.accelerator.num_processes,
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": max_grad_norm,
            # Its own optimizer for the CPU is compiled on first use; torch's gives the numbers of other ways to train.
            "zero_force_ds_cpu_optimizer": False,
            # As without DeepSpeed: float32 weights and gradients, of which autocast computes in bfloat16.
            "bf16": {"enabled": False},
            "torch_autocast": {
                "enabled": self.accelerator.mixed_precision == "bf16",
                "dtype": "bfloat16",
                "lower_precision_safe_modules": [],
            },
        }
        self.accelerator.gradient_accumulation_steps = 1
        self.wrapped, self.optimizer = self.accelerator.prepare(self.trained, optimizer)
        settings.clear()
        settings |= given  # where accelerate looks up the precision

    # ---- an update -----------------------------------------------------------------------------------------------

    def piece(self, travel: bool) -> AbstractContextManager[Any]:
        """Extends `WholeModel.piece`: DeepSpeed adds up the gradients of the pieces, and divides them."""
        self.wrapped.set_gradient_accumulation_boundary(travel)
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Extends `WholeModel.backward`."""
        self.wrapped.backward(loss * self.accelerator.num_processes, scale_wrt_gas=False)

    def step(self, learning_rate: float) -> Tensor | None:
        """Extends `WholeModel.step`.

        Raises:
            FloatingPointError: the gradients are not finite; DeepSpeed makes no update of them.
        """
        self.set_learning_rate(learning_rate)
        self.wrapped.step()
        if not self.wrapped.was_step_applied():
            raise FloatingPointError(
                "the gradients are not finite: the training has diverged. The last checkpoint is untouched; a lower "
                "learning_rate or learning_rate_scale, a longer warmup or max_grad_norm helps"
            )
        return torch.as_tensor(self.wrapped.get_global_grad_norm()) if self.max_grad_norm > 0 else None

    # ---- the whole copy ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def gather(self) -> None:
        """Extends `WholeModel.gather`."""
        for own, parameter in self.pairs(writing=False):
            own.copy_(parameter)

    @torch.no_grad()
    def scatter(self) -> None:
        """Extends `WholeModel.scatter`."""
        for own, parameter in self.pairs(writing=True):
            parameter.copy_(own)
        self.zero.refresh_fp32_params()

    def pairs(self, writing: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Gives each parameter of the whole copy, and the one that is trained, of which all is there meanwhile.

        Args:
            writing: the trained one will be changed.
        """
        from deepspeed.runtime.zero import GatheredParameters

        own = dict(self.model.named_parameters())
        for parameter, name in plain_names(self.trained).items():
            with GatheredParameters([parameter], modifier_rank=0 if writing else None):
                yield own[name].data, parameter.data

    # ---- the state of the optimizer ------------------------------------------------------------------------------

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Extends `WholeModel.optimizer_tensors`."""
        from deepspeed.utils import safe_get_full_optimizer_state

        self.link_state()
        first = self.partitions[0]
        tensors: dict[str, Tensor] = {}
        for parameter, name in self.changed().items():
            for key, value in self.base.state[first].items() if first in self.base.state else ():
                is_divided = torch.is_tensor(value) and value.shape == first.shape
                full = safe_get_full_optimizer_state(parameter, key) if is_divided else torch.as_tensor(value)
                tensors[f"{name}/{key}"] = full.detach().cpu().clone()
        return tensors

    def changed(self) -> dict[Tensor, str]:
        """Returns the parameters that are trained, and their names."""
        return {parameter: name for parameter, name in plain_names(self.trained).items() if parameter.requires_grad}

    def load_optimizer_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Extends `WholeModel.load_optimizer_tensors`.

        Raises:
            ValueError: also where a number differs between parameters, of which DeepSpeed keeps one for all.
        """
        names = self.changed()
        states = by_parameter(tensors, [*names.values()])
        numbers: dict[str, Tensor] = {}
        for path, tensor in tensors.items():
            key = path.rsplit("/", 1)[1]
            if tensor.ndim == 0 and not torch.equal(numbers.setdefault(key, tensor), tensor):
                raise ValueError(f"{path} is {tensor.item():g}, and {numbers[key].item():g} for other parameters")
        divided = dict.fromkeys(key for state in states.values() for key in state if key not in numbers)
        self.renew_state([*divided], numbers)
        for parameter, name in names.items():
            for key in divided.keys() & states.get(name, {}).keys():
                set_part(parameter, states[name][key], key)

    def renew_state(self, divided: list[str], numbers: dict[str, Tensor]) -> None:
        """Lets the optimizer's state be numbers and zeros; without any of them it is as before the first update.

        Args:
            divided: the names of what has a value for each weight.
            numbers: name → the number for all weights.
        """
        for partition in self.partitions:
            state = self.base.state[partition]
            for value in state.values():
                value.zero_()
            state |= {key: torch.zeros_like(partition) for key in divided}
            # A kernel that is fused reads the numbers on the device.
            device = partition.device if self.base.defaults.get("fused") else "cpu"
            state |= {key: number.to(device, copy=True) for key, number in numbers.items()}
        self.link_state()

    def link_state(self) -> None:
        """Tells stages 1 and 2 where the state of each parameter is.

        They find it out themselves after their first step, but of the first group of parameters only.
        """
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        for group, partition in zip(getattr(self.zero, "bit16_groups", ()), self.partitions, strict=False):
            lazy_init_hp_params_optimizer_state(group, partition, self.base.state)

    def undo(self) -> Callable[[], None]:
        """Extends `WholeModel.undo`."""
        self.gather()
        tensors = self.optimizer_tensors()

        def back() -> None:
            self.scatter()
            self.load_optimizer_tensors(tensors)

        return back


def set_part(parameter: Any, full: Tensor, key: str) -> None:
    """Sets what this process holds of the state of a parameter, given all of the state.

    Raises:
        ValueError: the sizes are not those of the parameter.
    """
    from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

    shape = getattr(parameter, "ds_shape", parameter.shape)  # stage 3 holds parts, filled up to equal sizes
    if full.shape != shape:
        raise ValueError(f"the optimizer's state has the sizes {(*full.shape,)} where {(*shape,)} are trained")
    if not hasattr(parameter, "ds_tensor"):
        return safe_set_full_optimizer_state(parameter, full, key)
    size = parameter.ds_tensor.numel()
    start = torch.distributed.get_rank(parameter.ds_process_group) * size
    part = full.new_zeros(size)
    held = full.flatten()[start : start + size]
    part[: len(held)] = held
    safe_set_local_optimizer_state(parameter, part, key)
