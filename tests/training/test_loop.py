import json
import math
import os
import re
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from triptych import TriptychForConditionalGeneration
from triptych.training import check_output_dir

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
        assert weights(run)
    tiny_run.loop(run, resume=began, **options).run()
    assert_equal(weights(run), weights(tmp_path / "unbroken"))
    assert files(run).keys() == files(tmp_path / "unbroken").keys()
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
    assert "removed checkpoint-6.tmp" in capsys.readouterr().out
    assert not list((tmp_path / "run").glob("*.tmp"))
    assert sorted(metrics(tmp_path / "run")) == [1, 2, 3, 4, 5, 6]
    assert_equal(weights(tmp_path / "run"), weights(tmp_path / "unbroken"))


def test_evaluation_does_not_change_the_training(tiny_run, tmp_path):
    def draw(model, accelerator):
        return {"noise": float(torch.rand(()))}

    tiny_run.loop(
        tmp_path / "often", dropout=0.3, evaluation_steps=1, extras={"evaluate": draw, "metrics": ["noise"]}
    ).run()
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
    """An objective whose evaluation returns the given values one after the other."""
    remaining = iter(values)
    return {"evaluate": lambda model, accelerator: {"score": next(remaining)}, "metrics": ["score"]}


def test_best_weights(tiny_run, tmp_path):
    options = {"evaluation_steps": 1, "save_steps": 1, "keep_checkpoints": 6, "final_weights": "best"}
    result = tiny_run.loop(tmp_path, extras=scripted([1, 5, 3, 5, 2, 4, 5]), best_metric="score", **options).run()
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


def files(directory):
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def write_extras(directory):
    """Names that the package does not know."""
    (directory / "labels").mkdir(exist_ok=True)
    for name in ("labels.txt", "labels/more.txt"):
        (directory / name).write_text("a b c")


def test_what_others_put_into_the_directory_stays(tiny_run, tmp_path):
    """Beside a run whose name is a pattern, with files that the task adds; started, resumed, and started over."""
    run, options = (
        tmp_path / "runs/a[1]",
        {"save_steps": 1, "keep_checkpoints": 2, "extras": {"save_extras": write_extras}},
    )
    foreign = {".git/HEAD": b"ref", "train.log": b"log"}
    later = {
        "notes.txt": b"x",
        "checkpoint-1/model.safetensors": b"mine",
        "checkpoint-007/config.json": b"mine",
        "checkpoint-٣/config.json": b"mine",
        "notes.tmp": b"x",
        "model_ema.safetensors": b"x",
    }

    def put(wanted):
        for name, content in wanted.items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(content)

    def stays(wanted):
        return wanted.items() <= files(run).items()

    put(foreign)
    tiny_run.loop(run, max_steps=3, **options).run()
    assert stays(foreign)
    put(later)
    outside = tmp_path / "outside"
    shutil.move(run / "checkpoint-2", outside)  # to another disk, and a link in its place
    (run / "checkpoint-2").symlink_to(outside)
    kept = files(outside)
    tiny_run.loop(run, max_steps=5, resume=True, **options).run()
    assert stays(foreign | later)
    assert files(outside) == kept
    assert sorted(d.name for d in run.glob("checkpoint-?")) == [f"checkpoint-{n}" for n in (1, 2, 4, 5, "٣")]
    assert (run / "checkpoint-5" / "labels" / "more.txt").is_file()

    with pytest.raises(FileExistsError, match="holds checkpoint-1, checkpoint-2, which the run has not written"):
        tiny_run.loop(run, max_steps=2, overwrite=True, **options)
    shutil.rmtree(run / "checkpoint-1")
    (run / "checkpoint-2").unlink()
    del later["checkpoint-1/model.safetensors"]
    tiny_run.loop(run, max_steps=2, overwrite=True, **options).run()
    assert stays(foreign | later)
    assert files(outside) == kept
    assert sorted(d.name for d in run.glob("checkpoint-?")) == ["checkpoint-1", "checkpoint-2", "checkpoint-٣"]
    assert not list(run.glob("checkpoint-4*"))


def test_nothing_inside_a_dropped_checkpoint_is_lost(tiny_run, tmp_path):
    tiny_run.loop(tmp_path, max_steps=2, save_steps=1, keep_checkpoints=1).run()
    (tmp_path / "checkpoint-2/notes.txt").write_text("precious")
    (tmp_path / "checkpoint-2/best-1").symlink_to(tmp_path)
    tiny_run.loop(tmp_path, max_steps=4, save_steps=1, keep_checkpoints=1, resume=True).run()
    assert sorted(p.name for p in (tmp_path / "checkpoint-2").iterdir()) == ["best-1", "notes.txt"]
    assert not (tmp_path / "checkpoint-3").exists()
    assert not (tmp_path / "notes.txt").exists()


@pytest.fixture(scope="module")
def finished(tiny_run, tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished") / "run"
    tiny_run.loop(directory, max_steps=4, save_steps=2, dropout=0.3).run()
    return directory


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without(name):
    def change(path):
        tensors = load_file(path)
        del tensors[next(key for key in tensors if key.endswith(name))]
        save_file(tensors, path, metadata={"format": "pt"})

    return change


def with_values(**values):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | values))


STATE = "checkpoint-4/training_state"


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint-2/model.safetensors",
        "checkpoint-4/model.safetensors",
        "checkpoint-4/config.json",
        "checkpoint-4/generation_config.json",
        f"{STATE}/optimizer.safetensors",
        f"{STATE}/random_state.safetensors",
        f"{STATE}/state.json",
        "best-4/best.json",
        "best-4/model.safetensors",
        "run.json",
    ],
)
@pytest.mark.parametrize("damage", [cut, lambda path: path.write_bytes(b""), lambda path: path.unlink()])
def test_a_damaged_file_is_named_before_anything_changes(finished, tmp_path, name, damage):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    damage(run / name)
    if not (run / name).exists() and name in ("run.json", "checkpoint-4/generation_config.json"):
        return  # without these there is another run, or nothing amiss
    before = files(run)
    with pytest.raises((ValueError, OSError), match=r"damaged|missing|holds no model|No such file") as raised:
        check_output_dir(run, resume=True)
    message = str(raised.value)
    assert str(run / name) in message or (not (run / name).exists() and str((run / name).parent) in message)
    if "best" in name or "checkpoint-2" in name:
        assert f"delete {run / name.split('/')[0]} and resume: the run goes on without it" in message
    elif "checkpoint-4" in name:
        assert "no earlier checkpoint" in message
        assert "start over with --overwrite" in message
    assert files(run) == before


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("state.json", with_values(step="../../../thesis"), "step='../../../thesis'"),
        ("state.json", with_values(step=-1), "step=-1"),
        ("state.json", with_values(seconds=math.inf), "seconds=inf"),
        ("state.json", with_values(window=[1.0]), r"window=\[1.0\]"),
        ("state.json", with_values(more=1), "other fields than a state, e.g. 'more'"),
        ("state.json", with_values(processes="two"), "processes='two'"),
        ("state.json", with_values(processes=0), "processes=0, but there are random numbers of 1"),
        ("state.json", with_values(scaler="x"), "scaler='x' is not the state of a loss scale"),
        ("state.json", lambda path: path.write_text("{}"), "other fields than a state, e.g. 'epoch'"),
        ("random_state.safetensors", without("numpy"), "'numpy'"),
        ("random_state.safetensors", without("torch"), "'torch'"),
        (
            "optimizer.safetensors",
            lambda path: save_file({"x/step": torch.ones(1)}, path),
            "another model: it has 'x'",
        ),
        ("../model.safetensors", without("embed_tokens.weight"), "'lm_head.weight' is missing"),
    ],
)
def test_a_checkpoint_whose_content_is_wrong_is_named(tiny_run, finished, tmp_path, name, damage, reason):
    shutil.copytree(finished, tmp_path / "run")
    path = (tmp_path / "run" / STATE / name).resolve()
    damage(path)
    with pytest.raises(ValueError, match=f"damaged \\(.*{reason}.*\\); .*--overwrite") as raised:
        tiny_run.loop(tmp_path / "run", max_steps=6, save_steps=2, dropout=0.3, resume=True).run()
    assert str(path if name[:2] != ".." else path.parent) in str(raised.value)


SCALER = {"scale": 1.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0}


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        (f"{STATE}/state.json", {"step": 3}, "step=3, but the directory is that of step 4"),
        (f"{STATE}/state.json", {"step": 10**30}, f"step={10**30}, but the directory"),
        (f"{STATE}/state.json", {"step": True}, "step=True"),
        (f"{STATE}/state.json", {"updates": 10**9}, "epoch=0, but there were 4 updates in all"),
        (f"{STATE}/state.json", {"updates": 3}, "updates=3, but there were 4 updates in the first epoch"),
        (f"{STATE}/state.json", {"epoch": 10**9}, f"epoch={10**9}, but there were 4 updates in all"),
        (f"{STATE}/state.json", {"evaluated": 5}, "evaluated=5, but"),
        (f"{STATE}/state.json", {"evaluated_at": 1e300}, "evaluated_at=1e+300, but the run took"),
        (f"{STATE}/state.json", {"saved_at": 1e300}, "saved_at=1e+300, but the run took"),
        (f"{STATE}/state.json", {"processes": 2}, "processes=2, but there are random numbers of 1"),
        (f"{STATE}/state.json", {"processes": True}, "processes=True"),
        (f"{STATE}/state.json", {"scaler": SCALER | {"scale": "x"}}, "scaler.scale='x'"),
        (f"{STATE}/state.json", {"scaler": {}}, "scaler={} is not the state of a loss scale"),
        (f"{STATE}/state.json", {"metrics": {"bleu": "high"}}, "metrics={'bleu': 'high'}"),
        (f"{STATE}/state.json", {"metrics": {"bleu": None}}, "metrics={'bleu': None}"),
        ("best-4/best.json", {"step": 2}, "step=2, but the directory is that of step 4"),
        ("best-4/best.json", {"metrics": {"validation_loss": "low"}}, "metrics={'validation_loss': 'low'}"),
        ("best-4/best.json", {"metric": "bleu"}, "metric='bleu', but the metrics are validation_loss, "),
        ("best-4/best.json", {"value": True}, "value=True, but validation_loss is "),
        ("best-4/best.json", {"value": -1.0}, "value=-1.0, but validation_loss is "),
    ],
)
def test_a_value_that_is_not_of_this_checkpoint_is_named_before_anything_changes(
    finished, tmp_path, name, values, reason
):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    with_values(**values)(run / name)
    before = files(run)
    with pytest.raises(ValueError, match=re.escape(f"{run / name} is damaged ({reason}")) as raised:
        check_output_dir(run, resume=True)
    remedy = "and resume: the run goes on without it" if "best" in name else "start over with --overwrite"
    assert remedy in str(raised.value)
    assert files(run) == before


@pytest.mark.parametrize(
    ("options", "values", "reason"),
    [
        ({}, {"epoch": 1, "updates": 5}, "updates=5, but the epoch has 5"),
        ({"mixed_precision": "fp16"}, {"scaler": None}, "scaler=None, but the run has a loss scale"),
    ],
)
def test_a_state_that_is_not_of_these_data_changes_nothing(tiny_run, tmp_path, options, values, reason):
    options |= {"max_steps": 6, "save_steps": 3}
    tiny_run.loop(tmp_path, **options).run()
    path = tmp_path / "checkpoint-6" / "training_state" / "state.json"
    with_values(**values)(path)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=re.escape(f"{path} is damaged ({reason}); ")):
        tiny_run.loop(tmp_path, resume=True, **options).run()
    assert files(tmp_path) == before


def test_the_checkpoint_before_a_damaged_one_is_named_and_continued_from(tiny_run, finished, tmp_path):
    """A kill may leave two from which the run can go on."""
    run, options = tmp_path / "run", {"max_steps": 6, "save_steps": 2, "dropout": 0.3}
    tiny_run.loop(tmp_path / "unbroken", **options).run()
    tiny_run.loop(run, **(options | {"max_steps": 2})).run()
    shutil.copytree(run / "checkpoint-2/training_state", tmp_path / "state")
    tiny_run.loop(run, **(options | {"max_steps": 4}), resume=True).run()
    shutil.copytree(tmp_path / "state", run / "checkpoint-2/training_state")
    cut(run / STATE / "optimizer.safetensors")
    remedy = f"delete {run / 'checkpoint-4'} and resume: the run continues from checkpoint-2, the one before"
    with pytest.raises(ValueError, match=remedy):
        tiny_run.loop(run, resume=True, **options)
    shutil.rmtree(run / "checkpoint-4")
    tiny_run.loop(run, resume=True, **options).run()
    assert_equal(weights(run), weights(tmp_path / "unbroken"))


def test_a_run_without_a_checkpoint_to_continue_from_does_not_silently_start_over(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.rmtree(run / "checkpoint-4")
    with pytest.raises(FileNotFoundError, match="training_state is missing; no earlier checkpoint"):
        check_output_dir(run, resume=True)


def test_metrics_that_a_machine_left_half_written(tiny_run, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    with open(tmp_path / "run/metrics.jsonl", "ab") as file:
        file.write(b"\0\0\xff\n[[[\n" + b"[" * 100_000)
    tiny_run.loop(tmp_path / "run", max_steps=6, save_steps=2, dropout=0.3, resume=True).run()
    assert sorted(metrics(tmp_path / "run")) == [1, 2, 3, 4, 5, 6]


def test_a_directory_that_another_run_took_meanwhile_is_not_deleted(tiny_run, tmp_path):
    late = tiny_run.loop(tmp_path)
    tiny_run.loop(tmp_path, max_steps=2).run()
    before = files(tmp_path)
    with pytest.raises(FileExistsError, match="holds a run"):
        late.run()
    assert files(tmp_path) == before


def test_diverged_training_stops_and_keeps_the_last_checkpoint(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path, save_steps=1, logging_steps=1)
    loss = loop.objective.loss
    loop.objective.loss = lambda model, piece, items: (
        loss(model, piece, items) * (math.nan if loop.state.step == 3 else 1)
    )
    with pytest.raises(FloatingPointError, match="nan at update 4"):
        loop.run()
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())
    assert (tmp_path / "checkpoint-3").is_dir()
    assert not (tmp_path / "checkpoint-4").exists()


def test_unknown_best_metric(tiny_run, tmp_path):
    with pytest.raises(
        ValueError, match=r"best_metric='bleu' is not among the metrics of an evaluation: validation_l"
    ):
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
