import pytest

from triptych.training import check_output_dir
from triptych.training.run import check_identity, claim_files, delete_run, start_run


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


def test_deleting_a_run_spares_what_others_wrote(tmp_path):
    start_run(tmp_path, {}, {})
    (tmp_path / "checkpoint-10").mkdir()
    (tmp_path / "tokenizer.json").touch()
    claim_files(tmp_path)
    (tmp_path / "checkpoint-20").mkdir()
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "notes.txt").touch()
    delete_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
