"""A run of the loop on a tiny model, as a program of its own: python tiny_run.py --output_dir DIR ..."""

import random
import sys
from collections.abc import Iterator
from signal import raise_signal

import torch
from safetensors.torch import save_file
from transformers import HfArgumentParser
from transformers.utils import logging

from triptych import TriptychConfig, TriptychForConditionalGeneration
from triptych.data import TranslationCollator, shard
from triptych.training import LoopArguments, Objective, TrainingLoop, create_accelerator
from triptych.training.command_line import run_script
from triptych.training.plan import measure


def tiny_model(dropout: float = 0.0) -> TriptychForConditionalGeneration:
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    layers = {"encoder_layers": 1, "decoder_layers": 1}
    return TriptychForConditionalGeneration(TriptychConfig(**sizes, **layers, dropout=dropout, label_smoothing=0.1))


class TinyBatches:
    """Ragged rows of random numbers and their reverse; 16 pairs an update, shared by processes and pieces."""

    def __init__(self, updates: int, process: int = 0, processes: int = 1, pieces: int = 1, rows: int = 16) -> None:
        self.size, self.division, self.rows = updates, (process, processes, pieces), rows
        self.collate = TranslationCollator(pad_token_id=0)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def cut_into(self, pieces: int) -> None:
        self.division = (*self.division[:2], pieces)

    def __len__(self) -> int:
        return self.size

    def updates(self, start: int = 0) -> Iterator[list[dict[str, torch.Tensor]]]:
        for number in range(start, self.size):
            numbers = random.Random(1000 * self.epoch + number)
            rows = [[numbers.randrange(4, 20) for _ in range(numbers.randrange(1, 9))] for _ in range(self.rows)]
            pairs = [{"input_ids": [*row, 3], "labels": [*row[::-1], 3]} for row in rows]
            yield [self.collate([pairs[i] for i in piece]) for piece in shard(range(self.rows), *self.division)]


def make_objective(**changes) -> Objective:
    """An objective with some attributes or methods replaced."""
    objective = Objective()
    vars(objective).update(changes)
    return objective


def make_loop(
    arguments: LoopArguments, dropout: float = 0.0, rows: int = 16, identity: dict | None = None, **changes
) -> TrainingLoop:
    """A loop over tiny batches; `changes` are those of `make_objective`."""
    accelerator = create_accelerator(**arguments.accelerator_options())
    division = (accelerator.process_index, accelerator.num_processes, arguments.gradient_accumulation_steps)
    return TrainingLoop(
        tiny_model(dropout),
        arguments,
        TinyBatches(5, *division, rows=rows),
        validation_batches=TinyBatches(2, *division, rows=rows),
        objective=make_objective(**changes),
        identity=identity,
        accelerator=accelerator,
    )


def save_first_gradients(loop: TrainingLoop, path: str) -> None:
    """Writes the gradients that the optimizer is given for the first update."""
    from gradients import first_gradients  # of tests/, which is on the path of those who ask for gradients

    first_gradients(loop, lambda gradients: save_file(gradients, path))


def main() -> None:
    parser = HfArgumentParser(LoopArguments)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--gradients", help="where each process writes its first gradients")
    parser.add_argument("--die_at", type=int, help="send oneself a signal when this many updates are made")
    parser.add_argument("--measured", type=bool, default=False, help="measure a few updates before the run")
    parser.add_argument("--number", type=int, default=9, help="of the signal")
    parser.add_argument("--memory_for", type=int, help="the last process has no memory for more rows at a time")
    parser.add_argument("--signalled", type=int, default=0, help="the process that sends it to itself")
    arguments, options = parser.parse_args_into_dataclasses(sys.argv[1:])
    loop = make_loop(arguments, options.dropout, options.rows)
    if options.measured:
        measure(loop)
    if options.gradients:
        save_first_gradients(loop, f"{options.gradients}-{loop.accelerator.process_index}")
    if options.die_at is not None and loop.accelerator.process_index == options.signalled:
        signal_at(loop, options.die_at, options.number)
    if options.memory_for and loop.accelerator.is_last_process:
        limit_memory(loop, options.memory_for)
    loop.run()


def limit_memory(loop: TrainingLoop, rows: int) -> list[int]:
    """Lets training fail, as a device without memory does, after the forward pass of more rows than these.

    Returns:
        The rows of each piece that is tried; it grows.
    """
    loss, tried = loop.objective.loss, []

    def limited(model, piece, items):
        result = loss(model, piece, items)
        tried.append(len(piece["labels"]))
        if len(piece["labels"]) > rows and model.training:
            result.backward()  # leaves gradients, which must not count
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return result

    loop.objective.loss = limited
    return tried


def signal_at(loop: TrainingLoop, step: int, number: int) -> None:
    """Lets this process send itself a signal, once, in the middle of the update after `step`."""
    loss, waiting = loop.objective.loss, [number]

    def interrupted(model, piece, items):
        if waiting and model.training and loop.state.step == step:
            raise_signal(waiting.pop())  # in this thread, so that two of them are never one
        return loss(model, piece, items)

    loop.objective.loss = interrupted


if __name__ == "__main__":
    logging.disable_progress_bar()
    run_script(main)
