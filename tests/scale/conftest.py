"""Two processes over gloo that share a tiny model, and what it must equal: the same model in one process."""

import functools
import inspect
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
import triptych
from tiny import END, LABELS, words

from . import worker

PROCESSES, PATIENCE = 2, 600.0
LENGTHS, CHOICES = (9, 4, 7, 6), 3


class Processes:
    """Two processes that live for many jobs, as starting one takes longer than its job."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory, self.environment, self.number = directory, environment, 0
        self.running: list[subprocess.Popen] = []

    def start(self) -> None:
        meeting = self.directory / f"meeting{self.number}"  # a file, as a port that is free now may be taken soon
        sizes = {"WORLD_SIZE": str(PROCESSES), "LOCAL_WORLD_SIZE": str(PROCESSES), "CUDA_VISIBLE_DEVICES": ""}
        for rank in range(PROCESSES):
            log = (self.directory / f"log.{rank}").open("w")
            self.running.append(
                subprocess.Popen(
                    [sys.executable, worker.__file__, str(meeting)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=os.environ | sizes | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | self.environment,
                )
            )

    def stop(self) -> None:
        """End the processes; they start anew with the next job."""
        for process in self.running:
            process.kill()
            process.communicate()
        self.running = []

    def run(self, strategy: str, **job: Any) -> list[dict[str, Any]]:
        """The answer of each process. After an error both are ended, as the other may wait for what never comes."""
        if not self.running:
            self.start()
        self.number += 1
        path = self.directory / f"job{self.number}"
        torch.save({"strategy": strategy, **job}, path)
        for process in self.running:
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
        answers = [path.with_suffix(f".{rank}") for rank in range(PROCESSES)]
        deadline = time.monotonic() + PATIENCE
        while not all(answer.exists() for answer in answers):
            failed = [answer for answer in answers if answer.exists() and "error" in torch.load(answer)]
            dead = [process.pid for process in self.running if process.poll() is not None]
            if failed or dead or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        found = [torch.load(answer) for answer in answers if answer.exists()]
        errors = [answer["error"] for answer in found if "error" in answer]
        if errors or len(found) < PROCESSES:
            self.stop()
            logs = [(self.directory / f"log.{rank}").read_text()[-3000:] for rank in range(PROCESSES)]
            pytest.fail("\n".join([f"{strategy} failed", *(errors or logs)]))
        return found


@pytest.fixture(scope="package")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    processes = Processes(tmp_path_factory.mktemp("processes"))
    yield processes
    processes.stop()


@pytest.fixture(scope="package")
def two_deepspeed_processes(
    tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str], None]
) -> Iterator[Processes]:
    needs("deepspeed")
    environment = {"DS_ACCELERATOR": "cpu", "ACCELERATE_USE_DEEPSPEED": "true"}
    processes = Processes(tmp_path_factory.mktemp("deepspeed_processes"), **environment)
    yield processes
    processes.stop()


@pytest.fixture(params=tiny.FAMILIES.values())
def language_model(request: pytest.FixtureRequest) -> str:
    """The class of each family that maps to a vocabulary."""
    return request.param


@pytest.fixture(params=tiny.HEADS)
def head(request: pytest.FixtureRequest) -> str:
    """Every class with a loss."""
    return request.param


@pytest.fixture
def make_model() -> Callable[..., Any]:
    """A tiny model with this head, every parameter random, in evaluation mode."""
    return functools.partial(tiny.make_model, std=0.2)


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Any]]:
    """Rows of different lengths with all the labels that this head takes, and their numbers where it counts them."""

    def make(head: str) -> dict[str, Any]:
        rows, length = len(LENGTHS), max(LENGTHS)
        mask = (torch.arange(length) < torch.tensor(LENGTHS)[:, None]).long()
        ids = words(rows, length) * mask
        ids[torch.arange(rows), mask.sum(-1) - 1] = END
        batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        number = torch.arange(rows)
        takes = inspect.signature(getattr(triptych, head).forward).parameters
        if "start_positions" in takes:
            batch |= {"start_positions": number, "end_positions": number + 1, "num_items_in_batch": rows}
        if "next_sentence_label" in takes:
            batch |= {"next_sentence_label": number % 2, "num_sequences_in_batch": rows}
        if "ForToken" in head:
            batch["labels"] = (ids % LABELS).masked_fill(mask == 0, -100)
        elif "ForSequence" in head:
            batch["labels"] = number % LABELS
        elif "ForNextSentence" in head:
            batch["labels"] = number % 2
        elif "ForMultipleChoice" in head:
            batch = {"input_ids": words(rows, CHOICES, length), "labels": number % CHOICES}
        elif "labels" in takes:  # one of the vocabulary at each position
            batch["labels"] = ids.masked_fill(mask == 0, -100)
        if "labels" in takes:
            batch["num_items_in_batch"] = (batch["labels"] != -100).sum().item()
        return batch

    return make


@pytest.fixture
def make_job(
    make_model: Callable[..., Any], make_batch: Callable[..., dict[str, Any]], tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """A tiny model, saved, and a batch for it."""

    def make(head: str, **overrides: Any) -> dict[str, Any]:
        make_model(head, **overrides).save_pretrained(tmp_path / "model")
        return {"head": head, "model": str(tmp_path / "model"), "batch": make_batch(head)}

    return make


@pytest.fixture(scope="session")
def alone() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The answer of one process, which is this one."""
    return worker.alone


@pytest.fixture
def assert_equal_to_alone(alone: Callable[..., dict[str, Any]]) -> Callable[..., None]:
    """The answers of both processes against the same job in one: losses, gradients, and what a step makes of them."""

    def check(job: dict[str, Any], answers: list[dict[str, Any]]) -> None:
        expected = alone(job)
        gradients = expected["gradients"]
        largest = max(gradient.abs().max().item() for gradient in gradients.values())
        before, after = expected["losses"]
        assert abs(before - after) > 1e-3 * before, "the step changed nothing"
        for answer in answers:
            assert answer["losses"] == pytest.approx(expected["losses"], rel=1e-5)
            assert answer["gradients"].keys() == gradients.keys()
            for name, gradient in gradients.items():
                error = (answer["gradients"][name] - gradient).abs().max().item()
                assert error <= 1e-4 * max(gradient.abs().max().item(), 1e-2 * largest), f"{name}: off by {error}"

    return check
