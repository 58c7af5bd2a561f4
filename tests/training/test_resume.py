"""A run that was killed at any moment, and resumed, equals one that was not."""

import os

import pytest
from safetensors.torch import load_file

from triptych import TriptychForConditionalGeneration


def test_killed_and_resumed_equals_unbroken(tiny_run, tmp_path):
    options = {"dropout": 0.3, "save_steps": 2, "max_steps": 8, "max_grad_norm": 1.0}
    tiny_run.loop(tmp_path / "unbroken", **options).run()
    killed = tiny_run.program(tmp_path / "killed", die_at=7, **options)
    assert killed.returncode == -9, killed.stderr
    assert sorted(tiny_run.metrics(tmp_path / "killed")) == [1, 2, 3, 4, 5, 6, 7]
    loaded = TriptychForConditionalGeneration.from_pretrained(tmp_path / "killed").state_dict()
    at_last_checkpoint = TriptychForConditionalGeneration.from_pretrained(
        tmp_path / "killed/checkpoint-6"
    ).state_dict()
    tiny_run.assert_equal(loaded, at_last_checkpoint)

    tiny_run.loop(tmp_path / "killed", resume=True, **options).run()
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "killed"), tiny_run.weights(tmp_path / "unbroken"))
    state = "checkpoint-8/training_state/optimizer.safetensors"
    tiny_run.assert_equal(load_file(tmp_path / "killed" / state), load_file(tmp_path / "unbroken" / state))
    assert tiny_run.metrics(tmp_path / "killed") == tiny_run.metrics(tmp_path / "unbroken")
    assert tiny_run.metrics(tmp_path / "killed", "validation_loss") == tiny_run.metrics(
        tmp_path / "unbroken", "validation_loss"
    )


class Killed(BaseException):
    """What stands for a kill: after it, no call of the system is made any more."""


def killed_at(call, monkeypatch, work):
    """Whether `work` gets as far as to its nth call that changes a directory."""
    calls = 0

    def watched(function):
        def checked(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls >= call:
                raise Killed
            return function(*arguments, **options)

        return checked

    with monkeypatch.context() as patches:
        for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
            patches.setattr(os, name, watched(getattr(os, name)))
        try:
            work()
        except Killed:
            return True
    return False


def write_extras(directory):
    """Names that the package does not know."""
    (directory / "labels").mkdir(exist_ok=True)
    for name in ("labels.txt", "labels/more.txt"):
        (directory / name).write_text("a b c")


@pytest.mark.parametrize("call", [3, 60, 113, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 117, 4))])
def test_a_kill_at_any_moment_of_a_run_costs_nothing(tiny_run, tmp_path, monkeypatch, call):
    options = {"save_steps": 1, "evaluation_steps": 1, "keep_checkpoints": 2, "max_steps": 3, "dropout": 0.3}
    options |= {"extras": {"save_extras": write_extras}}
    tiny_run.loop(tmp_path / "unbroken", **options).run()
    run = tmp_path / "run"
    run.mkdir()
    assert killed_at(call, monkeypatch, lambda: tiny_run.loop(run, **options).run())
    began = (run / "run.json").is_file()
    if began and any(run.glob("checkpoint-?")):
        assert tiny_run.weights(run)
    tiny_run.loop(run, resume=began, **options).run()
    tiny_run.assert_equal(tiny_run.weights(run), tiny_run.weights(tmp_path / "unbroken"))
    assert tiny_run.files(run).keys() == tiny_run.files(tmp_path / "unbroken").keys()
    tiny_run.loop(run, overwrite=True, **(options | {"max_steps": 1})).run()


def test_half_written_files_of_a_killed_run_are_removed(tiny_run, tmp_path, capsys):
    options = {"dropout": 0.3, "save_steps": 2}
    tiny_run.loop(tmp_path / "unbroken", **options).run()
    tiny_run.loop(tmp_path / "run", max_steps=4, **{**options, "save_steps": 2}).run()
    (tmp_path / "run/checkpoint-6.tmp/training_state").mkdir(parents=True)
    (tmp_path / "run/model.safetensors.tmp").write_bytes(b"half")
    with open(tmp_path / "run/metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')
    tiny_run.loop(tmp_path / "run", resume=True, **options).run()
    assert "removed checkpoint-6.tmp" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("*.tmp"))
    assert sorted(tiny_run.metrics(tmp_path / "run")) == [1, 2, 3, 4, 5, 6]
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "run"), tiny_run.weights(tmp_path / "unbroken"))


def test_a_finished_run_goes_on_with_more_steps(tiny_run, tmp_path):
    tiny_run.loop(tmp_path / "once", dropout=0.3).run()
    tiny_run.loop(tmp_path / "twice", dropout=0.3, max_steps=4, final_weights="average").run()
    tiny_run.loop(tmp_path / "twice", dropout=0.3, resume=True).run()
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "once"), tiny_run.weights(tmp_path / "twice"))


def test_resume_refuses_another_run(tiny_run, tmp_path):
    tiny_run.loop(tmp_path, extras={"identity": {"data.train": "abc", "size": [1, 2]}}).run()
    with pytest.raises(ValueError, match=r"arguments.seed was 0, now 1; data.train was 'abc', now 'xyz'"):
        tiny_run.loop(tmp_path, resume=True, seed=1, extras={"identity": {"data.train": "xyz", "size": (1, 2)}}).run()
    tiny_run.loop(tmp_path, resume=True, extras={"identity": {"data.train": "abc", "size": (1, 2)}}).run()
