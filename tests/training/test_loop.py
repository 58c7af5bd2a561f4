import json
import math
import sys

import pytest
import torch
from safetensors.torch import load_file

from triptych import TriptychForConditionalGeneration

TWO_PROCESSES = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def weights(directory):
    return load_file(directory / "model.safetensors")


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def metrics(directory, name="loss"):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def first_gradients(tiny_run, directory, **options):
    loop = tiny_run.loop(directory, max_steps=1, **options)
    tiny_run.module.save_first_gradients(loop, str(directory) + ".gradients")
    result = loop.run()
    return load_file(str(directory) + ".gradients"), metrics(directory)[1], result.metrics["validation_loss"]


@pytest.mark.parametrize(("rows", "pieces"), [(16, 8), (3, 8)])
def test_accumulation_changes_nothing(tiny_run, tmp_path, rows, pieces):
    whole, loss, validation = first_gradients(tiny_run, tmp_path / "whole", rows=rows)
    cut, cut_loss, cut_validation = first_gradients(
        tiny_run, tmp_path / "cut", rows=rows, gradient_accumulation_steps=pieces
    )
    assert cut_loss == pytest.approx(loss, rel=1e-6)
    assert cut_validation == pytest.approx(validation, rel=1e-6)
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, rtol=1e-5, atol=1e-7)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize(("rows", "pieces"), [(16, 1), pytest.param(3, 2, marks=pytest.mark.slow)])
def test_two_processes_change_nothing(tiny_run, tmp_path, rows, pieces):
    whole, loss, validation = first_gradients(tiny_run, tmp_path / "whole", rows=rows)
    options = {"max_steps": 1, "rows": rows, "gradient_accumulation_steps": pieces}
    done = tiny_run.program(tmp_path / "two", *TWO_PROCESSES, gradients=tmp_path / "gradients", **options)
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "two")[1] == pytest.approx(loss, rel=1e-6)
    assert metrics(tmp_path / "two", "validation_loss")[1] == pytest.approx(validation, rel=1e-6)
    for process in (0, 1):
        shared = load_file(tmp_path / f"gradients-{process}")
        for name, gradient in whole.items():
            torch.testing.assert_close(shared[name], gradient, rtol=1e-5, atol=1e-7)


def test_killed_and_resumed_equals_unbroken(tiny_run, tmp_path):
    options = {"dropout": 0.3, "save_steps": 2, "max_steps": 8, "max_grad_norm": 1.0}
    tiny_run.loop(tmp_path / "unbroken", **options).run()
    killed = tiny_run.program(tmp_path / "killed", die_at=7, **options)
    assert killed.returncode == -9, killed.stderr
    assert sorted(metrics(tmp_path / "killed")) == [1, 2, 3, 4, 5, 6, 7]
    loaded = TriptychForConditionalGeneration.from_pretrained(tmp_path / "killed").state_dict()
    at_last_checkpoint = TriptychForConditionalGeneration.from_pretrained(
        tmp_path / "killed/checkpoint-6"
    ).state_dict()
    assert_equal(loaded, at_last_checkpoint)

    tiny_run.loop(tmp_path / "killed", resume=True, **options).run()
    assert_equal(weights(tmp_path / "killed"), weights(tmp_path / "unbroken"))
    state = "checkpoint-8/training_state/optimizer.safetensors"
    assert_equal(load_file(tmp_path / "killed" / state), load_file(tmp_path / "unbroken" / state))
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "unbroken")
    assert metrics(tmp_path / "killed", "validation_loss") == metrics(tmp_path / "unbroken", "validation_loss")


def test_half_written_files_of_a_killed_run_are_removed(tiny_run, tmp_path, capsys):
    options = {"dropout": 0.3, "save_steps": 2}
    tiny_run.loop(tmp_path / "unbroken", **options).run()
    tiny_run.loop(tmp_path / "run", max_steps=4, **{**options, "save_steps": 2}).run()
    (tmp_path / "run/checkpoint-6.tmp/training_state").mkdir(parents=True)
    (tmp_path / "run/model.safetensors.tmp").write_bytes(b"half")
    with open(tmp_path / "run/metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')
    tiny_run.loop(tmp_path / "run", resume=True, **options).run()
    assert "removed checkpoint-6.tmp" in capsys.readouterr().out
    assert not list((tmp_path / "run").glob("*.tmp"))
    assert sorted(metrics(tmp_path / "run")) == [1, 2, 3, 4, 5, 6]
    assert_equal(weights(tmp_path / "run"), weights(tmp_path / "unbroken"))


def test_evaluation_does_not_change_the_training(tiny_run, tmp_path):
    def draw(model):
        return {"noise": float(torch.rand(()))}

    tiny_run.loop(tmp_path / "often", dropout=0.3, evaluation_steps=1, extras={"evaluate": draw}).run()
    tiny_run.loop(tmp_path / "seldom", dropout=0.3, evaluation_steps=100).run()
    assert_equal(weights(tmp_path / "often"), weights(tmp_path / "seldom"))


def test_the_loss_falls_and_the_minutes_end_it(tiny_run, tmp_path):
    result = tiny_run.loop(tmp_path, max_steps=None, max_minutes=0.05, learning_rate_scale=0.2).run()
    assert result.step > 5
    assert result.minutes >= 0.05
    losses = metrics(tmp_path)
    assert losses[max(losses)] < losses[1]


def test_checkpoints_are_pruned_and_only_the_last_can_be_resumed(tiny_run, tmp_path):
    tiny_run.loop(tmp_path, save_steps=1, keep_checkpoints=3).run()
    assert sorted(d.name for d in tmp_path.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-5", "checkpoint-6"]
    assert [d.parent.name for d in tmp_path.glob("*/training_state")] == ["checkpoint-6"]


def scripted(values):
    """An evaluation that returns the given values one after the other."""
    remaining = iter(values)
    return lambda model: {"score": next(remaining)}


def test_best_weights(tiny_run, tmp_path):
    options = {"evaluation_steps": 1, "save_steps": 1, "keep_checkpoints": 6, "final_weights": "best"}
    result = tiny_run.loop(
        tmp_path, extras={"evaluate": scripted([1, 5, 3, 5, 2, 4, 5])}, best_metric="score", **options
    ).run()
    assert result.best["step"] == 2
    assert [d.name for d in tmp_path.glob("best-*")] == ["best-2"]
    assert_equal(weights(tmp_path), weights(tmp_path / "checkpoint-2"))
    assert not (tmp_path / "best.json").exists()


def test_average_of_the_last_checkpoints(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path, save_steps=1, keep_checkpoints=3, final_weights="average")
    loop.run()
    last = [weights(tmp_path / f"checkpoint-{step}") for step in (4, 5, 6)]
    mean = weights(tmp_path)
    for name in mean:
        torch.testing.assert_close(mean[name], sum(w[name] for w in last) / 3)
    assert_equal(loop.bare_model.state_dict(), TriptychForConditionalGeneration.from_pretrained(tmp_path).state_dict())


def test_a_finished_run_goes_on_with_more_steps(tiny_run, tmp_path):
    tiny_run.loop(tmp_path / "once", dropout=0.3).run()
    tiny_run.loop(tmp_path / "twice", dropout=0.3, max_steps=4, final_weights="average").run()
    tiny_run.loop(tmp_path / "twice", dropout=0.3, resume=True).run()
    assert_equal(weights(tmp_path / "once"), weights(tmp_path / "twice"))


def test_resume_refuses_another_run(tiny_run, tmp_path):
    tiny_run.loop(tmp_path, extras={"identity": {"data.train": "abc", "size": [1, 2]}}).run()
    with pytest.raises(ValueError, match=r"arguments.seed was 0, now 1; data.train was 'abc', now 'xyz'"):
        tiny_run.loop(tmp_path, resume=True, seed=1, extras={"identity": {"data.train": "xyz", "size": (1, 2)}}).run()
    tiny_run.loop(tmp_path, resume=True, extras={"identity": {"data.train": "abc", "size": (1, 2)}}).run()


def test_overwrite_starts_over(tiny_run, tmp_path):
    tiny_run.loop(tmp_path, max_steps=5, seed=1).run()
    with pytest.raises(FileExistsError, match=r"its last checkpoint is checkpoint-5.*--resume.*--overwrite"):
        tiny_run.loop(tmp_path)
    tiny_run.loop(tmp_path, max_steps=3, overwrite=True).run()
    assert [d.name for d in tmp_path.glob("checkpoint-*")] == ["checkpoint-3"]
    assert sorted(metrics(tmp_path)) == [1, 2, 3]


def test_diverged_training_stops_and_keeps_the_last_checkpoint(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path, save_steps=1, logging_steps=1)
    forward = loop.compute_loss
    loop.compute_loss = lambda model, piece, items: (
        forward(model, piece, items) * (math.nan if loop.state.step == 3 else 1)
    )
    with pytest.raises(FloatingPointError, match="nan at update 4"):
        loop.run()
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())
    assert (tmp_path / "checkpoint-3").is_dir()
    assert not (tmp_path / "checkpoint-4").exists()


def test_unknown_best_metric(tiny_run, tmp_path):
    with pytest.raises(ValueError, match=r"best_metric='bleu' is not among the metrics: validation_loss"):
        tiny_run.loop(tmp_path, best_metric="bleu").run()


def test_empty_training_data(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path)
    loop.train_batches.size = 0
    with pytest.raises(ValueError, match="the training data"):
        loop.run()


def test_bf16_trains(tiny_run, tmp_path):
    result = tiny_run.loop(tmp_path, mixed_precision="bf16").run()
    assert math.isfinite(result.metrics["validation_loss"])
    assert {tensor.dtype for tensor in weights(tmp_path).values()} == {torch.float32}
