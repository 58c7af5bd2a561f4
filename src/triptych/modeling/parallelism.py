"""Tensor parallelism: the one style that transformers does not have."""

from typing import Any

from torch import nn
from transformers.distributed.tensor_parallel import ALL_PARALLEL_STYLES, TensorParallelLayer

from ..configuration.parallelism import HEADWISE_TABLE


class HeadwiseTable(TensorParallelLayer):
    """A table with one column per attention head: each process keeps, and looks up, the columns of its own heads."""

    def shard_param(self, module: nn.Module, param: str, mesh: Any) -> None:
        from torch.distributed.tensor import Shard, distribute_tensor  # absent where torch is built without it

        whole = module._parameters[param]
        assert whole is not None
        columns = distribute_tensor(whole, mesh, [Shard(1)], src_data_rank=None)
        module._parameters[param] = nn.Parameter(columns, requires_grad=whole.requires_grad)

    def transform_inputs_pre_forward(self, module: nn.Module, args: Any, kwargs: Any, mesh: Any) -> tuple[Any, Any]:
        from torch.distributed.tensor import DTensor, Replicate

        ids, *rest = args
        return (DTensor.from_local(ids, mesh, [Replicate()], run_check=False), *rest), kwargs

    def transform_output_post_forward(self, module: nn.Module, output: Any, mesh: Any) -> Any:
        return output.to_local()


ALL_PARALLEL_STYLES.register(HEADWISE_TABLE, HeadwiseTable())
