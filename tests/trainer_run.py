"""A tiny model with a head, trained by transformers' Trainer or by Triptych's loop, every update on the same 16 rows.

In this process by `train` or `train_by_loop`; or as a program in several processes: trainer_run.py FILE..., where a
file holds the name of one of them (`by`) and its arguments, and its answer is written beside it.
"""

import inspect
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    DataCollatorForMultipleChoice,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
)

import tiny
import triptych
from tiny import END, LABELS
from triptych.training import LoopArguments, TrainingLoop, create_accelerator

HEADS, ROWS = tiny.HEADS, 16
LENGTHS = [3, 9, 5, 2, 7, 2, 8, 4, 6, 6, 3, 9, 2, 5, 3, 8]
ARGUMENTS: dict[str, Any] = {
    "max_steps": 3,
    "per_device_train_batch_size": ROWS,
    "per_device_eval_batch_size": ROWS,
    "optim": "sgd",
    "lr_scheduler_type": "constant",
    "learning_rate": 0.02,
    "max_grad_norm": 0.0,  # not clipped: a gradient that is too long would go unnoticed
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
}


def make_model(head: str, **config: Any) -> Any:
    """The head with random weights, biases and norms too."""
    return tiny.make_model(head, std=0.2, **config).train()


def words(length: int, seed: int) -> list[int]:
    """Random token ids that are not special, then an end token."""
    return [*tiny.words(length - 1, seed=seed).tolist(), END]


def example(head: str, number: int) -> dict[str, Any]:
    """One row of ragged data with all labels of the head; rows have differently many labels."""
    length = LENGTHS[number]
    ids = words(length, number)
    row: dict[str, Any] = {"input_ids": ids, "attention_mask": [1] * length}
    takes = inspect.signature(getattr(triptych, head).forward).parameters
    if "next_sentence_label" in takes:
        row["next_sentence_label"] = number % 2
    if "start_positions" in takes:
        return row | {"start_positions": number % 2, "end_positions": length - 1}
    if "ForMultipleChoice" in head:
        choices = [ids, words(LENGTHS[number - 1], 100 + number)]
        return {"input_ids": choices, "attention_mask": [[1] * len(ids) for ids in choices], "labels": number % 2}
    if "ForSequence" in head or "ForNextSentence" in head:
        return row | {"labels": number % (2 if "ForNextSentence" in head else LABELS)}
    if "ForToken" in head:
        return row | {"labels": [-100, *(token % LABELS for token in ids[1:])]}
    if "ForConditionalGeneration" in head:  # long sources have short targets
        return row | {"labels": words(11 - length, 100 + number)}
    if "ForCausalLM" in head:
        return row | {"labels": ids}
    return row | {"labels": [token if i % 3 == 0 else -100 for i, token in enumerate(ids)]}


def make_collator(head: str, model: nn.Module) -> Any:
    """The collator that transformers has for the task."""
    tokenizer = tiny.number_tokenizer()
    if "ForConditionalGeneration" in head:
        return DataCollatorForSeq2Seq(tokenizer, model=model)
    if "ForMultipleChoice" in head:
        return DataCollatorForMultipleChoice(tokenizer)
    if "ForToken" in head or "LM" in head or "PreTraining" in head:
        return DataCollatorForTokenClassification(tokenizer)
    return DataCollatorWithPadding(tokenizer)


def whole_batch(head: str, model: nn.Module) -> dict[str, Any]:
    """All rows at once."""
    return dict(make_collator(head, model)([example(head, number) for number in range(ROWS)]))


def make_trainer(model: Any, collator: Any = None, **arguments: Any) -> Trainer:
    """The Trainer of the model's task, set up for three updates."""
    head, rows = type(model).__name__, range(ROWS)
    data = [example(head, number) for number in rows]
    translates = "ForConditionalGeneration" in head
    kind, options = (Seq2SeqTrainer, Seq2SeqTrainingArguments) if translates else (Trainer, TrainingArguments)
    return kind(
        model=model,
        args=options(**{"output_dir": tempfile.mkdtemp(), **ARGUMENTS, **arguments}),
        data_collator=collator or make_collator(head, model),
        train_dataset=data,
        eval_dataset=data,
    )


def train(head: str, config: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    """Three updates: the logged losses and gradient norms, the loss of the evaluation, how far the weights moved."""
    model = make_model(head, **config or {})
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainer = make_trainer(model, **arguments)
    trainer.train()
    steps = [step for step in trainer.state.log_history if "grad_norm" in step]
    answer: dict[str, Any] = {name: [step[name] for step in steps] for name in ("loss", "grad_norm")}
    answer |= {"eval_loss": trainer.evaluate()["eval_loss"], "processes": trainer.accelerator.num_processes}
    answer["moves"] = {name: parameter.detach() - start[name] for name, parameter in model.named_parameters()}
    return answer


class Rows:
    """All rows as one update, shared by processes and pieces. Of every fourth answer the last position is cut off."""

    def __init__(self, head: str, model: nn.Module, process: int, processes: int, pieces: int) -> None:
        rows = [example(head, number) for number in range(ROWS)]
        for number, row in enumerate(rows):
            if "end_positions" in row and number % 4 == 3:
                row["end_positions"] = len(row["input_ids"])
        self.collate = make_collator(head, model)
        self.pieces = [rows[process::processes][piece::pieces] for piece in range(pieces)]

    def set_epoch(self, epoch: int) -> None:
        """The order is always the same."""

    def __len__(self) -> int:
        return 1

    def updates(self, start: int = 0) -> Iterator[list[dict[str, Any]]]:
        yield from [[dict(self.collate(piece)) for piece in self.pieces]][start:]


def train_by_loop(head: str, pieces: int, output_dir: str) -> dict[str, Any]:
    """The gradients of one update by the loop."""
    model = make_model(head)
    accelerator = create_accelerator(cpu=True, cpu_threads=1)
    rows = Rows(head, model, accelerator.process_index, accelerator.num_processes, pieces)
    quiet = {"report_to": "none", "progress_bar": False, "best_metric": None, "cpu": True, "cpu_threads": 1}
    arguments = LoopArguments(output_dir=output_dir, max_steps=1, gradient_accumulation_steps=pieces, **quiet)
    loop = TrainingLoop(model, arguments, rows, accelerator=accelerator)
    answer: dict[str, Any] = {"processes": accelerator.num_processes}

    def keep(*_: Any) -> None:
        answer["gradients"] = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    loop.optimizer.optimizer.register_step_pre_hook(keep)
    loop.run()
    return answer


WAYS = {"trainer": train, "loop": train_by_loop}


def main() -> None:
    torch.set_num_threads(1)
    for path in map(Path, sys.argv[1:]):
        job = json.loads(path.read_text())
        answer = WAYS[job.pop("by")](**job)
        if torch.distributed.get_rank() == 0:
            torch.save(answer, path.with_suffix(".answer"))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
