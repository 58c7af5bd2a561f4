"""The devices, the processes and the threads of a run, and the trackers that it may have."""

import os
import subprocess
import sys
import types

import pytest
import torch
from accelerate.state import AcceleratorState

from triptych.training import accelerator, create_accelerator, launchers
from triptych.training.accelerator import available_threads, tracker_names


@pytest.fixture
def environment(monkeypatch):
    """Sets the environment of this process, as a launcher may have left it; no variable is set before."""

    def set_variables(**variables):
        for name in ("LOCAL_WORLD_SIZE", "OMP_NUM_THREADS", *launchers.MARKS):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.fixture
def launcher(monkeypatch):
    """Stands for the process that has started this one."""

    def make(command, **environment):
        parent = types.SimpleNamespace(cmdline=command.split, environ=lambda: environment)
        monkeypatch.setattr(launchers.psutil, "Process", lambda number: parent)

    return make


@pytest.mark.parametrize("number", [1, 7])
def test_the_number_of_threads_in_the_environment_counts(environment, number):
    environment(OMP_NUM_THREADS=str(number))
    assert available_threads() == number


@pytest.mark.parametrize("mark", launchers.MARKS)
def test_one_thread_that_a_launcher_has_set_does_not_idle_the_other_cores(environment, launcher, mark):
    environment()
    cores = available_threads()
    environment(OMP_NUM_THREADS="1", **{mark: "x"})
    launcher("accelerate launch train.py")
    assert available_threads() == cores
    launcher("accelerate launch train.py", OMP_NUM_THREADS="1")
    assert available_threads() == 1
    launcher("accelerate launch --num_cpu_threads_per_process=1 train.py")
    assert available_threads() == 1


def test_without_sight_of_the_launcher_its_one_thread_does_not_count(environment, monkeypatch):
    environment()
    cores = available_threads()
    environment(OMP_NUM_THREADS="1", TORCHELASTIC_RUN_ID="x")

    def hidden(number):
        raise launchers.psutil.AccessDenied

    monkeypatch.setattr(launchers.psutil, "Process", hidden)
    assert available_threads() == cores


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "wish", "expected"),
    [
        ("accelerate.commands.launch --num_processes 1", {}, "cores"),
        ("torch.distributed.run --nproc_per_node 2", {"OMP_NUM_THREADS": "1"}, "1"),
    ],
)
def test_a_real_launcher(tmp_path, launcher, wish, expected):
    program = tmp_path / "program.py"
    found = f"runpy.run_path({launchers.__file__!r})['wished_threads']()"
    program.write_text(f"import os, runpy; print(os.environ['OMP_NUM_THREADS'], {found} or 'cores')")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    words = [sys.executable, "-m", *launcher.split(), str(program)]
    done = subprocess.run(words, env=environment | wish, capture_output=True, text=True)
    assert set(done.stdout.splitlines()) == {f"1 {expected}"}, done.stderr


def test_processes_share_the_cores(environment):
    environment(LOCAL_WORLD_SIZE="1000")
    assert available_threads() == 1


def test_trackers_are_named_one_by_one_or_all_together():
    assert tracker_names("none") == tracker_names("") == []
    assert tracker_names("tensorboard, tensorboard") == ["tensorboard"]
    assert "tensorboard" in tracker_names("all")


def test_a_tracker_that_there_is_not_is_refused_with_the_list(tmp_path, monkeypatch):
    with pytest.raises(
        ValueError,
        match=r"no tracker tensorbord \(did you mean tensorboard\?\); choose from aim, .*tensorboard.*, or none",
    ):
        create_accelerator(tracker="tensorbord", tracker_directory=tmp_path)
    monkeypatch.setattr(accelerator, "get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(ValueError, match="comet_ml is not installed; pip install comet-ml"):
        create_accelerator(tracker="tensorboard,comet_ml", tracker_directory=tmp_path)


@pytest.fixture
def one_thread_afterwards():
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("one_thread_afterwards")
def test_the_number_of_threads_and_the_device_are_as_asked_for(monkeypatch):
    AcceleratorState._reset_state(True)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *_: True)
    accelerator = create_accelerator(cpu=True, cpu_threads=3)
    assert accelerator.device.type == "cpu"
    assert torch.get_num_threads() == 3
