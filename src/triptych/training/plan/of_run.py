"""The plan of one run: a new one for its data, its devices and its limits, or the one with which it was started."""

from collections.abc import Collection
from pathlib import Path

import torch
from accelerate import Accelerator

from ..arguments import LoopArguments
from ..run_directory.record import read_record
from ..strategies import strategy_of
from ..task import Task
from .plan import Plan, make_plan, recorded_plan
from .table import Resources, rows_from_nothing
from .tokens import estimated_tokens


def plan_of_run(task: Task, arguments: LoopArguments, accelerator: Accelerator, given: Collection[str]) -> Plan:
    """Returns the plan of the run that is resumed, or a new one.

    Args:
        task: with its data.
        given: the names of the options and fields that the user gave.

    Raises:
        ValueError: the run that is resumed was started without a plan; see `recorded_plan`.
    """
    if arguments.resume:
        return recorded_plan(read_record(Path(arguments.output_dir))["identity"].get("plan"), given)
    resources = Resources(
        estimated_tokens(task.data["train"], task.text_columns, task.arguments.tokenizer_model),
        accelerator.device.type,
        accelerator.num_processes,
        torch.get_num_threads(),
        arguments.max_minutes,
        arguments.num_train_epochs,
        arguments.max_steps,
    )
    values = {**vars(arguments), **vars(task.arguments), **task.config_fields}
    width = None if task.checkpoint is None else int(getattr(task.checkpoint, "hidden_size", 0))
    optimizers = strategy_of(accelerator).optimizers
    return make_plan(task.family, resources, {n: values[n] for n in given if n in values}, width, optimizers)


def check_fields(task: Task) -> None:
    """Finds mistakes in the fields of the configuration before any long work, when the sizes are not planned yet.

    Raises:
        ValueError: no row of the table goes with these fields.
    """
    wrong = None
    for row in rows_from_nothing(task.family):
        known = task.config_class.__dataclass_fields__.keys()
        fields = {name: row.options[name] for name in known & row.options.keys()}
        fields |= dict.fromkeys(known & {"bos_token_id", "eos_token_id"})  # the tokenizer will decide them
        try:
            task.config_class.from_preset(task.preset, **fields | task.config_fields)
        except ValueError as error:
            wrong = error
        else:
            return
    assert wrong is not None
    raise wrong
