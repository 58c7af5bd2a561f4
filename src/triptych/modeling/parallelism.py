"""Tensor parallelism: one style of division that transformers does not have. `registration` makes it known."""

from typing import Any

from torch import nn
from transformers.distributed.tensor_parallel import TensorParallelLayer


class HeadwiseTable(TensorParallelLayer):
    """Divides a table with one column per attention head: each process keeps the columns of the heads that it has.

    The table is the bias of relative positions, (buckets, heads). Its input, the bucket of each pair of positions, is
    the same on all processes. Its output belongs to the heads of one process.
    """

    def shard_param(self, module: nn.Module, param: str, mesh: Any) -> None:
        """Extends transformers' method: the parameter (rows, columns) is divided along its columns."""
        from torch.distributed.tensor import Shard, distribute_tensor  # absent where torch is built without it

        whole = module._parameters[param]
        assert whole is not None
        columns = distribute_tensor(whole, mesh, [Shard(1)], src_data_rank=None)
        module._parameters[param] = nn.Parameter(columns, requires_grad=whole.requires_grad)

    def transform_inputs_pre_forward(self, module: nn.Module, args: Any, kwargs: Any, mesh: Any) -> tuple[Any, Any]:
        """Extends transformers' method: the indices are marked as equal on all processes."""
        from torch.distributed.tensor import DTensor, Replicate

        ids, *rest = args
        return (DTensor.from_local(ids, mesh, [Replicate()], run_check=False), *rest), kwargs

    def transform_output_post_forward(self, module: nn.Module, output: Any, mesh: Any) -> Any:
        """Extends transformers' method: the looked-up columns stay with their process."""
        return output.to_local()
