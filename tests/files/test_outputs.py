"""Where the output of long work may go is checked before the work."""

import os
from pathlib import Path

import pytest

from triptych.files import check_output_file, check_writable
from triptych.training.run_directory.record import is_run_entry


def test_where_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    check_output_file(tmp_path / "new")
    for path, message in ((tmp_path, "is a directory"), (tmp_path / "no" / "x", "does not exist")):
        with pytest.raises(OSError, match=message):
            check_output_file(path)
    with pytest.raises(NotADirectoryError, match="is not a directory"):
        check_writable(tmp_path / "file" / "x")


def test_an_output_file_replaces_no_input_and_no_file_of_the_model(tmp_path, monkeypatch):
    data, blob, model = tmp_path / "te.tsv", tmp_path / "blob", tmp_path / "m"
    (model / "checkpoint-2").mkdir(parents=True)
    for path in (data, blob, model / "model.safetensors", model / "notes.txt"):
        path.write_text("precious")
    (model / "config.json").symlink_to(blob)
    (model / "tokenizer.json").symlink_to(tmp_path / "nothing")
    (tmp_path / "link.tsv").symlink_to(data)
    os.link(data, tmp_path / "hard.tsv")
    (tmp_path / "m2").symlink_to(model)
    (tmp_path / "dangling").symlink_to(tmp_path / "no" / "x")
    (tmp_path / "new_link").symlink_to(tmp_path / "new_target")
    monkeypatch.chdir(tmp_path)

    def check(name):
        return check_output_file(Path(name), ["other.tsv", "te.tsv"], "m2", is_run_entry)

    for name in ("new", "m/new.txt", "m/notes.txt", "blob2", "new_link", os.devnull, "config.json"):
        check(name)
    for name in ("te.tsv", data, "./m/../te.tsv", "link.tsv", "hard.tsv"):
        with pytest.raises(ValueError, match=r"would replace the input te\.tsv; name another file"):
            check(name)
    inside = ("config.json", "model.safetensors", "tokenizer.json", "generation_config.json", "run.json")
    steps = ("checkpoint-2/config.json", "checkpoint-2/model.safetensors")
    for name in ("blob", *(f"{folder}/{name}" for folder in ("m", "m2") for name in (*inside, *steps))):
        with pytest.raises(ValueError, match="would replace a file of the model in m2; name another file"):
            check(name)
    with pytest.raises(FileNotFoundError, match=r"dangling cannot be written: the directory .*no does not exist"):
        check("dangling")
