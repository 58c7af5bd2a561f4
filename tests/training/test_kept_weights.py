"""Which checkpoints and weights a run keeps, and that it touches nothing else in its directory."""

import shutil

import pytest
import torch

from triptych import TriptychForConditionalGeneration


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
    tiny_run.assert_equal(tiny_run.weights(tmp_path), tiny_run.weights(tmp_path / "checkpoint-2"))
    assert not (tmp_path / "best.json").exists()


def test_average_of_the_last_checkpoints(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path, save_steps=1, keep_checkpoints=3, final_weights="average")
    loop.run()
    last = [tiny_run.weights(tmp_path / f"checkpoint-{step}") for step in (4, 5, 6)]
    mean = tiny_run.weights(tmp_path)
    for name in mean:
        torch.testing.assert_close(mean[name], sum(w[name] for w in last) / 3)
    tiny_run.assert_equal(
        loop.bare_model.state_dict(), TriptychForConditionalGeneration.from_pretrained(tmp_path).state_dict()
    )


def test_overwrite_starts_over(tiny_run, tmp_path):
    tiny_run.loop(tmp_path, max_steps=5, seed=1).run()
    with pytest.raises(FileExistsError, match=r"its last checkpoint is checkpoint-5.*--resume.*--overwrite"):
        tiny_run.loop(tmp_path)
    tiny_run.loop(tmp_path, max_steps=3, overwrite=True).run()
    assert [d.name for d in tmp_path.glob("checkpoint-*")] == ["checkpoint-3"]
    assert sorted(tiny_run.metrics(tmp_path)) == [1, 2, 3]


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
        return wanted.items() <= tiny_run.files(run).items()

    put(foreign)
    tiny_run.loop(run, max_steps=3, **options).run()
    assert stays(foreign)
    put(later)
    outside = tmp_path / "outside"
    shutil.move(run / "checkpoint-2", outside)  # to another disk, and a link in its place
    (run / "checkpoint-2").symlink_to(outside)
    kept = tiny_run.files(outside)
    tiny_run.loop(run, max_steps=5, resume=True, **options).run()
    assert stays(foreign | later)
    assert tiny_run.files(outside) == kept
    assert sorted(d.name for d in run.glob("checkpoint-?")) == [f"checkpoint-{n}" for n in (1, 2, 4, 5, "٣")]
    assert (run / "checkpoint-5" / "labels" / "more.txt").is_file()

    with pytest.raises(FileExistsError, match="holds checkpoint-1, checkpoint-2, which the run has not written"):
        tiny_run.loop(run, max_steps=2, overwrite=True, **options)
    shutil.rmtree(run / "checkpoint-1")
    (run / "checkpoint-2").unlink()
    del later["checkpoint-1/model.safetensors"]
    tiny_run.loop(run, max_steps=2, overwrite=True, **options).run()
    assert stays(foreign | later)
    assert tiny_run.files(outside) == kept
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


def test_a_directory_that_another_run_took_meanwhile_is_not_deleted(tiny_run, tmp_path):
    late = tiny_run.loop(tmp_path)
    tiny_run.loop(tmp_path, max_steps=2).run()
    before = tiny_run.files(tmp_path)
    with pytest.raises(FileExistsError, match="holds a run"):
        late.run()
    assert tiny_run.files(tmp_path) == before
