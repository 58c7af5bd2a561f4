"""The first update of training runs, also as a program for several processes: python first_update.py JOBS

JOBS is a JSON file, a list of [task, options, file, settings of DeepSpeed]. Each process trains one update of each,
and writes its gradients and its part of the loss into the file, whose name ends in the number of the process. Without
a file (null) it trains a whole run; without settings (null) it trains without DeepSpeed.
"""

import base64
import json
import os
import sys
from importlib import import_module
from typing import Any

import torch
from accelerate.state import AcceleratorState
from safetensors.torch import save_file

from gradients import first_gradients
from triptych.training.script import parse_options
from triptych.training.training import Training

COMMON = {"report_to": "none", "cpu_threads": 1, "best_metric": "none"}
COMMON |= {"dropout": 0.0, "attention_dropout": 0.0, "classifier_dropout": 0.0}
TASKS = {
    "translation": "TranslationTask",
    "summarization": "SummarizationTask",
    "causal_lm": "CausalLMTask",
    "masked_lm": "MaskedLMTask",
    "classification": "ClassificationTask",
    "tagging": "TaggingTask",
    "question_answering": "QuestionAnsweringTask",
}


def make_training(task: str, output_dir: Any, **options: Any) -> Training:
    """A run that is not started. An option None is left out, and True is an option without a value."""
    AcceleratorState._reset_state(True)
    words = ["--cpu", "--output_dir", str(output_dir)]
    given = {name: value for name, value in (COMMON | options).items() if value is not None}
    for name, value in given.items():
        words += [f"--{name}", *([] if value is True else [str(value)])]
    task_class = getattr(import_module(f"triptych.training.tasks.{task}"), TASKS[task])
    arguments, loop_arguments, fields = parse_options(task_class, args=words)
    return Training(task_class(arguments, fields), loop_arguments, {"cpu", "output_dir", *given})


def first_update(task: str, output_dir: Any, **options: Any) -> dict[str, torch.Tensor]:
    """The gradients of the first update, and `loss`, this process's part of its loss."""
    run, found = make_training(task, output_dir, **options | {"max_steps": 1}), {}

    def keep(gradients: dict[str, torch.Tensor]) -> None:
        found.update(gradients)
        found["loss"] = run.loop.measurements.sums[0] / run.loop.measurements.sums[1]

    first_gradients(run.loop, keep)
    run.run()
    return found


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        jobs = json.load(file)
    for task, options, path, settings in jobs:
        set_settings(settings)
        if path is None:
            make_training(task, **options).run()
        else:
            found = first_update(task, f"{path}-run", **options)
            save_file(found, f"{path}-{AcceleratorState().process_index}")


def set_settings(settings: dict[str, Any] | None) -> None:
    """Leaves the settings of DeepSpeed where `accelerate launch` leaves them; None: it is not used."""
    os.environ["ACCELERATE_USE_DEEPSPEED"] = str(settings is not None).lower()
    os.environ["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = base64.b64encode(json.dumps(settings).encode()).decode()


if __name__ == "__main__":
    main()
