"""A damaged or impossible file of a run is named, with the remedy, before anything changes."""

import json
import math
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from triptych.training import check_output_dir


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
def test_a_damaged_file_is_named_before_anything_changes(tiny_run, finished, tmp_path, name, damage):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    damage(run / name)
    if not (run / name).exists() and name in ("run.json", "checkpoint-4/generation_config.json"):
        return  # without these there is another run, or nothing amiss
    before = tiny_run.files(run)
    with pytest.raises((ValueError, OSError), match=r"damaged|missing|holds no model|No such file") as raised:
        check_output_dir(run, resume=True)
    message = str(raised.value)
    assert str(run / name) in message or (not (run / name).exists() and str((run / name).parent) in message)
    if "best" in name or "checkpoint-2" in name:
        assert f"delete {run / name.split('/')[0]} and resume: the run goes on without it" in message
    elif "checkpoint-4" in name:
        assert "no earlier checkpoint" in message
        assert "start over with --overwrite" in message
    assert tiny_run.files(run) == before


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
        ("state.json", lambda path: path.write_text("{}"), "other fields than a state, e.g. 'best'"),
        ("state.json", with_values(scheduled=1), "scheduled=1"),
        ("state.json", with_values(best={"bleu": "high"}), "best={'bleu': 'high'}"),
        ("state.json", with_values(stale=-1), "stale=-1"),
        ("state.json", with_values(pieces=1.5), "pieces=1.5"),
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
    tiny_run, finished, tmp_path, name, values, reason
):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    with_values(**values)(run / name)
    before = tiny_run.files(run)
    with pytest.raises(ValueError, match=re.escape(f"{run / name} is damaged ({reason}")) as raised:
        check_output_dir(run, resume=True)
    remedy = "and resume: the run goes on without it" if "best" in name else "start over with --overwrite"
    assert remedy in str(raised.value)
    assert tiny_run.files(run) == before


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
    before = tiny_run.files(tmp_path)
    with pytest.raises(ValueError, match=re.escape(f"{path} is damaged ({reason}); ")):
        tiny_run.loop(tmp_path, resume=True, **options).run()
    assert tiny_run.files(tmp_path) == before


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
    tiny_run.assert_equal(tiny_run.weights(run), tiny_run.weights(tmp_path / "unbroken"))


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
    assert sorted(tiny_run.metrics(tmp_path / "run")) == [1, 2, 3, 4, 5, 6]
