"""How processes share a model: what trains it under each way in which `accelerate launch` may start them."""

from accelerate import Accelerator
from accelerate.utils import DistributedType

from .arguments import LoopArguments
from .sharding import DividedModel, WholeModel
from .zero import ZeroModel

# All others train whole copies, with data parallelism where there are several processes.
STRATEGIES: dict[DistributedType, type[WholeModel]] = {
    DistributedType.FSDP: DividedModel,
    DistributedType.DEEPSPEED: ZeroModel,
}


def strategy_of(accelerator: Accelerator) -> type[WholeModel]:
    """Returns the class that trains a model with these processes."""
    return STRATEGIES.get(accelerator.distributed_type, WholeModel)


def check_strategy(accelerator: Accelerator, arguments: LoopArguments) -> None:
    """Raises ValueError if these processes cannot share a model as the options and the launcher ask for."""
    strategy_of(accelerator).check(accelerator, arguments)
