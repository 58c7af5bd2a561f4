"""Only regular files of a limited size are opened, and only in the directory of the checkpoint."""

import os

import pytest

from triptych.files import check_model_files, check_tokenizer_files, read_json, weight_files, write_json
from triptych.files.regular import LARGEST, LARGEST_JSON, may_be_opened


def make_pipe(path):
    os.mkfifo(path)


def make_directory(path):
    path.mkdir()


def make_device(path):
    path.symlink_to("/dev/zero")


def make_link_to_nothing(path):
    path.symlink_to("nowhere")


def make_link_that_leads_out(path):
    (path.parents[1] / "outside.json").write_text("{}")
    path.symlink_to("../outside.json")


def make_too_large(path):
    with path.open("wb") as file:
        file.truncate(LARGEST.get(path.name, LARGEST_JSON) + 1)  # takes no space on the disk


REFUSED = {
    make_pipe: "is a pipe, not a file",
    make_directory: "is a directory, not a file",
    make_device: "is a device, not a file",
    make_link_to_nothing: "is a link to nothing",
    make_link_that_leads_out: "is a link that leads out of",
    make_too_large: "no such file is so large",
}


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


@pytest.mark.parametrize(("make", "reason"), REFUSED.items(), ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "adapter_config.json"])
def test_what_is_no_file_is_refused_by_name(make, reason, name, directory):
    make(directory / name)
    for check in (check_model_files, check_tokenizer_files, lambda place: read_json(place / name)):
        with pytest.raises(ValueError, match=reason) as raised:
            check(directory)
        assert str(raised.value).startswith(f"{directory / name} ")


@pytest.mark.parametrize("make", [make_pipe, make_directory, make_device, make_link_that_leads_out])
def test_weights_are_files(make, directory):
    make(directory / "model.safetensors")
    for check in (check_model_files, weight_files):
        with pytest.raises(ValueError, match=r"model\.safetensors is a"):
            check(directory)


def test_a_link_inside_the_directory_is_a_file(directory):
    write_json(directory / "config.json", {})
    (directory / "generation_config.json").symlink_to("config.json")
    check_model_files(directory)
    assert may_be_opened(directory / "generation_config.json")
    assert not may_be_opened(directory / "nothing.json")


def test_a_snapshot_of_the_cache_links_to_its_blobs(tmp_path):
    repository = tmp_path / "models--me--mine"
    snapshot = repository / "snapshots" / "0123" / "part"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "abc").write_text("{}")
    (snapshot / "config.json").symlink_to("../../../blobs/abc")
    assert may_be_opened(snapshot / "config.json")
    check_model_files(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("{}")
    (snapshot / "tokenizer.json").symlink_to("../../../refs/main")
    with pytest.raises(ValueError, match="leads out"):
        check_tokenizer_files(snapshot)


def test_the_folder_of_the_target_tokenizer_lies_in_the_directory(directory, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    write_json(tmp_path / "elsewhere" / "tokenizer.json", {})
    (directory / "target_tokenizer").symlink_to("../elsewhere")
    with pytest.raises(ValueError, match=r"target_tokenizer/tokenizer\.json is a link that leads out of .*model;"):
        check_tokenizer_files(directory)
