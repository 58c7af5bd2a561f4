"""Ctrl-C and SIGTERM: an update ends, a checkpoint is written, and the run goes on as if it was never stopped."""

import os
import re
import signal
import subprocess
import sys
import types

import pytest

from triptych.training import interruption
from triptych.training.command_line import run_script
from triptych.training.interruption import Interrupted, continuing_command

from .test_loop import TWO_PROCESSES

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def entries(directory):
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*")}


@pytest.mark.parametrize(("number", "step"), zip(SIGNALS, (3, 7), strict=True))
def test_stopped_and_resumed_equals_left_alone(tiny_run, tmp_path, number, step):
    """After an update that was due for nothing, and after the last one: weights, their mean, the log, all files."""
    options = {"dropout": 0.3, "max_steps": 8, "save_steps": 3, "evaluation_steps": 3, "logging_steps": 3}
    options |= {"keep_checkpoints": 2, "final_weights": "average"}
    tiny_run.loop(tmp_path / "alone", **options).run()
    stopped = tiny_run.loop(tmp_path / "stopped", **options)
    tiny_run.module.signal_at(stopped, step, number)
    with pytest.raises(Interrupted, match=f"stopped by {number.name}; .*checkpoint-{step + 1}$") as caught:
        stopped.run()
    assert caught.value.status == 128 + number
    assert (tmp_path / "stopped" / f"checkpoint-{step + 1}").is_dir()
    tiny_run.loop(tmp_path / "stopped", resume=True, **options).run()
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "stopped"), tiny_run.weights(tmp_path / "alone"))
    for metric in ("loss", "validation_loss"):
        assert tiny_run.metrics(tmp_path / "stopped", metric) == tiny_run.metrics(tmp_path / "alone", metric)
    assert entries(tmp_path / "stopped") == entries(tmp_path / "alone")


def test_a_signal_while_the_last_weights_are_evaluated(tiny_run, tmp_path):
    def evaluate(model, accelerator):
        os.kill(os.getpid(), signal.SIGINT)
        return {}

    extras = {"evaluate": evaluate, "metrics": ["nothing"]}
    with pytest.raises(Interrupted, match=r"everything is in .*checkpoint-6$"):
        tiny_run.loop(tmp_path, evaluation_steps=100, extras=extras).run()
    extras["evaluate"] = lambda model, accelerator: {}
    assert tiny_run.loop(tmp_path, resume=True, extras=extras).run().step == 6


def test_several_stops_push_no_checkpoint_out(tiny_run, tmp_path):
    options = {"dropout": 0.3, "save_steps": 3, "keep_checkpoints": 1, "max_steps": 8}
    for step, kept in ((3, {3, 4}), (4, {3, 5}), (6, {6, 7})):
        loop = tiny_run.loop(tmp_path, resume=(tmp_path / "run.json").exists(), **options)
        tiny_run.module.signal_at(loop, step, signal.SIGTERM)
        with pytest.raises(Interrupted):
            loop.run()
        assert {path.name for path in tmp_path.glob("checkpoint-*")} == {f"checkpoint-{n}" for n in kept}


def test_the_second_signal_ends_at_once(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path)
    for _ in range(2):
        tiny_run.module.signal_at(loop, 2, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        loop.run()
    assert not isinstance(caught.value, Interrupted)
    assert loop.state.step == 2
    assert not list(tmp_path.glob("checkpoint-*"))


def test_the_handlers_of_the_caller_come_back(tiny_run, tmp_path):
    before = [signal.getsignal(number) for number in SIGNALS]
    tiny_run.loop(tmp_path, max_steps=1).run()
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_the_status_and_the_last_words(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "train.py", "--output_dir", "my run"])

    def main():
        raise Interrupted(signal.SIGTERM, tmp_path)

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    assert stop.value.code == 143
    assert capsys.readouterr().err.splitlines()[-1].endswith(" train.py --output_dir 'my run' --resume")


COMMANDS = {
    ("/py", "train.py", "--seed", "1"): "/py train.py --seed 1 --resume",
    ("/py", "train.py", "--overwrite", "--resume", "--x", "a b"): "/py train.py --x 'a b' --resume",
    ("/py", "-m", "triptych", "train-translation"): "/py -m triptych train-translation --resume",
    ("/py", "{bin}/triptych", "train-translation"): "triptych train-translation --resume",
    ("{bin}/python", "train.py"): "python train.py --resume",
}


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A directory on the path, with programs in it."""
    for name in ("triptych", "python", "accelerate"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for mark in interruption.is_launched.__globals__["MARKS"]:
        monkeypatch.delenv(mark, raising=False)
    return tmp_path


@pytest.mark.parametrize("words", COMMANDS)
def test_the_command_is_as_it_was_typed(programs, monkeypatch, words):
    monkeypatch.setattr(sys, "orig_argv", [word.format(bin=programs) for word in words])
    assert continuing_command() == COMMANDS[words]


def test_the_command_has_its_launcher(programs, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setattr(sys, "orig_argv", ["/py", "-u", "train.py", "--seed", "1"])
    monkeypatch.setattr(sys, "argv", ["train.py", "--seed", "1"])
    launcher = f"{programs}/python {programs}/accelerate launch train.py --seed 1".split()
    monkeypatch.setattr(interruption.psutil, "Process", lambda _: types.SimpleNamespace(cmdline=lambda: launcher))
    assert continuing_command() == "accelerate launch train.py --seed 1 --resume"
    monkeypatch.setattr(sys, "argv", ["train.py", "--seed", "2"])  # the parent is not its launcher
    assert continuing_command() == "/py -u train.py --seed 1 --resume"


def last_command(done):
    """The command that a stopped run has named."""
    found = re.search(r"this continues it:\n    (.*)$", done.stderr, re.MULTILINE)
    assert found, done.stderr
    return found[1]


@pytest.mark.slow
def test_the_command_that_is_named_continues(tiny_run, tmp_path):
    path = {"PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])}
    directory, launcher = tmp_path / "a run", "accelerate launch --num_processes 1 --cpu"
    done = tiny_run.program(directory, *launcher.split(), die_at=2, number=int(signal.SIGTERM), env=path)
    assert list(tiny_run.metrics(directory)) == [1, 2, 3]
    named = last_command(done)
    assert named.startswith(launcher)
    assert "'" in named
    subprocess.run(named, shell=True, check=True, env=os.environ | path, capture_output=True)
    assert list(tiny_run.metrics(directory)) == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_two_processes_stop_at_the_same_update(tiny_run, tmp_path):
    """Only one of them gets the signal."""
    tiny_run.loop(tmp_path / "alone", save_steps=4).run()
    stop = {"die_at": 1, "number": int(signal.SIGTERM), "signalled": 1}
    stopped = tiny_run.program(tmp_path / "stopped", *TWO_PROCESSES, save_steps=4, **stop)
    assert " --resume" in last_command(stopped)
    assert list(tiny_run.metrics(tmp_path / "stopped")) == [1, 2, 3]  # one update later, all know of it
    again = tiny_run.program(tmp_path / "stopped", *TWO_PROCESSES, save_steps=4, resume=True)
    assert again.returncode == 0, again.stderr
    assert tiny_run.metrics(tmp_path / "stopped") == pytest.approx(tiny_run.metrics(tmp_path / "alone"), rel=1e-6)
