import pytest
import torch
from accelerate.state import AcceleratorState

from triptych.training import create_accelerator
from triptych.training.accelerator import available_threads


def test_a_launcher_that_sets_one_thread_does_not_idle_the_other_cores(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = available_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert available_threads() == cores
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert available_threads() == 7


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
    assert available_threads() == 1


def test_tracker_that_is_not_installed(tmp_path):
    with pytest.raises(ValueError, match="report_to=no_such_tracker: that package is not installed"):
        create_accelerator(tracker="no_such_tracker", tracker_directory=tmp_path)


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
