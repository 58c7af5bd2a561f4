import json
import os

import pytest

from triptych.training import check_output_dir
from triptych.training.run_directory.checkpoints import remove_unfinished
from triptych.training.run_directory.directory import check_identity, delete_run, start_run
from triptych.training.run_directory.record import claim, is_run_entry, read_record, recorded, release


def fill(directory, *names):
    """Files, each with its own name in it."""
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)


def listing(directory):
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


@pytest.fixture(params=["run", "runs/a[1] *"])
def run_dir(tmp_path, request):
    """The directory of a run that has two checkpoints; beside it, a thesis."""
    fill(tmp_path, "thesis/thesis.tex")
    directory = tmp_path / request.param
    start_run(directory, {"seed": 0}, {})
    claim(directory, "config.json", "target_tokenizer", "checkpoint-5", "checkpoint-10", "best-5")
    fill(directory, "config.json", "target_tokenizer/vocab.json", "metrics.jsonl", "tensorboard/events.out.tfevents.1")
    for step in ("checkpoint-5", "checkpoint-10", "best-5"):
        fill(directory / step, "config.json", "model.safetensors", "target_tokenizer/tokenizer.json")
    fill(directory, "checkpoint-10/training_state/state.json", "best-5/best.json")
    return directory


def test_a_new_or_empty_directory_may_be_used(tmp_path):
    check_output_dir(tmp_path)
    check_output_dir(tmp_path / "new")
    (tmp_path / "train.log").touch()
    (tmp_path / ".hidden").touch()
    check_output_dir(tmp_path)


def test_a_directory_of_something_else_is_refused_even_to_overwrite(tmp_path):
    (tmp_path / "thesis.tex").touch()
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"holds no run \(it has thesis.tex\)"):
            check_output_dir(tmp_path, overwrite=overwrite)


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file; name a directory"):
        check_output_dir(tmp_path / "file")


def test_nothing_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        check_output_dir(tmp_path, resume=True)


def test_another_run_is_refused(tmp_path):
    start_run(tmp_path, {}, {})
    with pytest.raises(FileExistsError, match=r"no checkpoint yet.*--resume.*--overwrite"):
        check_output_dir(tmp_path)
    check_output_dir(tmp_path, resume=True)
    check_output_dir(tmp_path, overwrite=True)


def test_the_difference_is_named(tmp_path):
    start_run(tmp_path, {"model.hidden_size": 256, "seed": 0}, {})
    check_identity(tmp_path, {"model.hidden_size": 256, "seed": 0})
    with pytest.raises(ValueError, match=r"model\.hidden_size was 256, now 512; more was None, now 1"):
        check_identity(tmp_path, {"model.hidden_size": 512, "seed": 0, "more": 1})


def test_deleting_a_run_deletes_what_it_wrote(run_dir):
    delete_run(run_dir)
    assert listing(run_dir) == ["run.json"]
    check_output_dir(run_dir, overwrite=True)


FOREIGN = (
    *("notes.txt", "train.log", ".git/HEAD", "slurm-7.out", "notes.tmp", "mine/config.json", "vocab.json"),
    *(
        "checkpoint-1/model.safetensors",
        "checkpoint-007/config.json",
        "checkpoint-٣/config.json",
        "checkpoint-5-copy/x",
    ),
    *("checkpoint-5 (copy)/config.json", "best-1/best.json", "Checkpoint-5/config.json", "model_ema.safetensors"),
)


def test_deleting_a_run_spares_what_others_wrote(run_dir):
    fill(run_dir, *FOREIGN)
    delete_run(run_dir)
    assert [name for name in listing(run_dir) if (run_dir / name).is_file()] == sorted(["run.json", *FOREIGN])


@pytest.mark.parametrize("name", ["checkpoint-5/notes.txt", "tensorboard/plot.png", "target_tokenizer/.git/HEAD"])
def test_what_others_put_inside_stops_the_deletion(run_dir, name):
    fill(run_dir, name)
    before = listing(run_dir)
    with pytest.raises(FileExistsError, match="is not deleted, because no run has written it"):
        delete_run(run_dir)
    assert listing(run_dir) == before


def test_links_are_not_followed(run_dir, tmp_path):
    thesis = tmp_path / "thesis"
    fill(thesis, "config.json", "model.safetensors")
    before = listing(thesis)
    os.rename(run_dir / "checkpoint-5", tmp_path / "elsewhere")
    (run_dir / "checkpoint-5").symlink_to(thesis)
    (run_dir / "config.json").unlink()
    (run_dir / "config.json").symlink_to(thesis / "config.json")
    (run_dir / "checkpoint-10.tmp").symlink_to(thesis)
    assert remove_unfinished(run_dir, is_run_entry) == []
    with pytest.raises(FileExistsError, match=r"checkpoint-5, config\.json, which the run has not written"):
        check_output_dir(run_dir, overwrite=True)
    delete_run(run_dir)
    assert listing(thesis) == before
    assert [name for name in listing(run_dir) if (run_dir / name).is_symlink()] == [
        "checkpoint-10.tmp",
        "checkpoint-5",
        "config.json",
    ]


BAD_NAMES = ["..", ".", "", "../thesis", "a/b", "/", "thesis\\x", None, 3, ["x"], {"a": 1}, "a\0b"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_a_record_that_reaches_outside_deletes_nothing(run_dir, tmp_path, name):
    record = read_record(run_dir)
    (run_dir / "run.json").write_text(json.dumps(record | {"files": [*record["files"], name]}))
    before = listing(tmp_path)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match=r"run\.json is not the record of a run: .* name another directory"):
            check_output_dir(run_dir, **options)
    with pytest.raises(ValueError, match="is not the record of a run"):
        start_run(run_dir, {}, {})
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"identity": {}}', '{"identity": 1, "files": []}', "[" * 9**6]
)
def test_a_damaged_record_is_named(run_dir, text):
    (run_dir / "run.json").write_text(text)
    before = listing(run_dir)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match=r"run\.json is (damaged|not the record)"):
            check_output_dir(run_dir, **options)
    assert listing(run_dir) == before


def test_a_record_of_names_that_no_run_writes_deletes_none_of_these(run_dir):
    fill(run_dir, *FOREIGN)
    record = read_record(run_dir)
    names = [path.name for path in run_dir.iterdir()] + [f"name {number}" for number in range(10_000)]
    ours = {"checkpoint-1", "best-1", "vocab.json"}  # what the record says may be true of them
    (run_dir / "run.json").write_text(json.dumps(record | {"files": [name for name in names if name not in ours]}))
    delete_run(run_dir)
    left = [name for name in listing(run_dir) if (run_dir / name).is_file()]
    assert left == sorted(["run.json", *FOREIGN])


def test_names_are_claimed_before_they_are_written(run_dir):
    fill(run_dir, "checkpoint-15/config.json")
    with pytest.raises(FileExistsError, match="checkpoint-15 is not replaced, because this run has not written it"):
        claim(run_dir, "checkpoint-20", "checkpoint-15")
    assert not {"checkpoint-15", "checkpoint-20"} & recorded(run_dir)
    claim(run_dir, "checkpoint-20")
    release(run_dir, "checkpoint-5")
    assert "checkpoint-20" in recorded(run_dir)
    assert "checkpoint-5" not in recorded(run_dir)
    assert read_record(run_dir)["identity"] == {"seed": 0}


def test_what_stands_in_the_way_is_told_before_the_run(run_dir):
    fill(run_dir, "checkpoint-7/config.json", "checkpoint-007/config.json")
    with pytest.raises(FileExistsError, match="holds checkpoint-7, which the run has not written and may have to"):
        check_output_dir(run_dir, overwrite=True)


def test_a_link_to_nothing_and_a_directory_in_a_file_are_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    fill(tmp_path, "file")
    for name in ("link", "file", "file/run"):
        with pytest.raises(NotADirectoryError):
            check_output_dir(tmp_path / name)


def test_what_a_kill_left_is_removed_and_what_it_was_replacing_comes_back(run_dir):
    os.rename(run_dir / "best-5", run_dir / "best-5.old.tmp")
    fill(run_dir, "best-5.tmp/config.json", "checkpoint-15.tmp/training_state/state.json.0123abcd.tmp")
    fill(run_dir, "model.safetensors.0123abcd.tmp", "average.tmp/model.safetensors", "config.json.tmp")
    fill(run_dir, "notes.tmp", "notes.0123abcd.tmp", "checkpoint-007.tmp/config.json", "mine.tmp/config.json")
    removed = remove_unfinished(run_dir, is_run_entry)
    assert sorted(removed) == [
        "average.tmp",
        "best-5.tmp",
        "checkpoint-15.tmp",
        "config.json.tmp",
        "model.safetensors.0123abcd.tmp",
    ]
    assert (run_dir / "best-5" / "best.json").is_file()
    assert {path.name for path in run_dir.glob("*.tmp")} == {
        "notes.tmp",
        "notes.0123abcd.tmp",
        "checkpoint-007.tmp",
        "mine.tmp",
    }
