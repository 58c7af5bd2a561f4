"""What is written is whole, what is replaced was ours, and what is damaged is named."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from triptych import files
from triptych.files import (
    RECORD,
    check_destination,
    check_model_files,
    check_output_file,
    is_plain,
    new_directory,
    publish,
    read_json,
    remove,
    weight_files,
    write_json,
    write_text,
)
from triptych.training.run_directory.record import is_run_entry


def listing(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


def make(destination: Path, text: str = "{}", overwrite: bool = False, name: str = "config.json") -> None:
    with new_directory(destination, "me", overwrite) as directory:
        (directory / name).write_text(text)


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole(tmp_path):
    write_text(tmp_path / "a[1].txt", "one\n")
    write_text(tmp_path / "a[1].txt", "zwei ä\n")
    assert (tmp_path / "a[1].txt").read_bytes() == "zwei ä\n".encode()
    assert listing(tmp_path) == ["a[1].txt"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a[1].txt").stat().st_mode) == 0o666 & ~umask


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write_text(tmp_path / "a", "old")
    (tmp_path / "a.tmp").write_text("somebody's")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(tmp_path / "a", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old", "a.tmp": "somebody's"}


def test_links_and_devices_are_written_into_and_stay(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_text(tmp_path / "link", "new")
    write_text(Path(os.devnull), "gone")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_where_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    check_output_file(tmp_path / "new")
    for path, message in ((tmp_path, "is a directory"), (tmp_path / "no" / "x", "does not exist")):
        with pytest.raises(OSError, match=message):
            check_output_file(path)
    with pytest.raises(NotADirectoryError, match="is not a directory"):
        files.check_writable(tmp_path / "file" / "x")


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


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "../a", "a\\b", "a\0", None, 3, ["a"]])
def test_what_is_no_name(name):
    assert not is_plain(name)
    assert is_plain("a[1] ä.txt")


def test_published_files_are_the_named_ones(tmp_path):
    for name in ("model.safetensors.index.json", "model-1", "notes.txt", "sub/x"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(name)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "notes.txt").write_text("mine")
    publish(tmp_path / "source", tmp_path / "target", ["model.safetensors.index.json", "model-1", "sub/x"])
    assert listing(tmp_path / "target") == ["model-1", "model.safetensors.index.json", "notes.txt", "sub", "sub/x"]
    assert (tmp_path / "target" / "notes.txt").read_text() == "mine"


# ---- removing -------------------------------------------------------------------------------------------------------


def test_only_what_is_ours_is_removed_and_no_link_is_followed(tmp_path):
    outside, directory = tmp_path / "outside", tmp_path / "ours"
    for path in (outside, directory, directory / "target_tokenizer", directory / "mine"):
        path.mkdir()
    for path in (outside / "config.json", directory / "config.json", directory / "mine" / "config.json"):
        path.write_text("x")
    (directory / "tokenizer.json").symlink_to(outside / "config.json")
    (directory / "additional_chat_templates").symlink_to(outside)
    (directory / "target_tokenizer" / "vocab.json").write_text("x")
    left = files.remove_tree(directory, files.is_checkpoint_entry)
    assert left == ["additional_chat_templates", "mine", "tokenizer.json"]
    assert listing(outside) == ["config.json"]
    assert listing(directory) == ["additional_chat_templates", "mine", "mine/config.json", "tokenizer.json"]
    (tmp_path / "link").symlink_to(outside)
    assert remove(tmp_path / "link", lambda path: True) == ["link"]
    assert listing(outside) == ["config.json"]


# ---- directories ----------------------------------------------------------------------------------------------------


def test_a_directory_is_replaced_only_by_its_writer_and_only_when_told(tmp_path):
    make(tmp_path / "a" / "out", "1")
    assert listing(tmp_path / "a") == ["out", f"out/{RECORD}", "out/config.json"]
    with pytest.raises(FileExistsError, match="out exists; choose another directory, or allow to overwrite it"):
        make(tmp_path / "a" / "out", "2")
    make(tmp_path / "a" / "out", "2", overwrite=True, name="model.safetensors")
    assert listing(tmp_path / "a") == ["out", f"out/{RECORD}", "out/model.safetensors"]
    with pytest.raises(FileExistsError, match="holds what was not written there by you"):
        check_destination(tmp_path / "a" / "out", "you", overwrite=True)


@pytest.mark.parametrize("name", ["thesis.tex", "tokenizer.json", "target_tokenizer/vocab.txt", ".git/HEAD"])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_what_others_put_there_is_never_replaced(tmp_path, name, is_recorded):
    """Whatever the record says of files that the package does not write."""
    if is_recorded and files.is_checkpoint_entry(name):
        return
    make(tmp_path / "out")
    (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / name).write_text("precious")
    if is_recorded:
        write_json(tmp_path / "out" / RECORD, {"writer": "me", "files": ["config.json", name, "..", "../x", 3]})
    before = listing(tmp_path)
    with pytest.raises(FileExistsError, match=f"not written there by me \\({name.partition('/')[0]}"):
        make(tmp_path / "out", overwrite=True)
    assert listing(tmp_path) == before


def test_a_file_that_comes_while_the_new_one_is_written_is_not_lost(tmp_path):
    make(tmp_path / "out")

    def write() -> None:
        with new_directory(tmp_path / "out", "me", True) as directory:
            (directory / "config.json").write_text("new")
            (tmp_path / "out" / "notes.txt").write_text("precious")

    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        write()
    assert listing(tmp_path) == ["out", f"out/{RECORD}", "out/config.json", "out/notes.txt"]
    assert (tmp_path / "out" / "config.json").read_text() == "{}"


@pytest.mark.parametrize("damage", ["not json", "[]", '{"files": 3}', '{"writer": "me", "files": {}}', None])
def test_a_record_that_says_nothing_allows_nothing(tmp_path, damage):
    make(tmp_path / "out")
    (tmp_path / "out" / RECORD).unlink()
    if damage is not None:
        (tmp_path / "out" / RECORD).write_text(damage)
    with pytest.raises(FileExistsError, match="not written there by me"):
        make(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "config.json").read_text() == "{}"


@pytest.mark.parametrize("overwrite", [False, True])
def test_dangerous_destinations_are_refused(tmp_path, monkeypatch, overwrite):
    source = tmp_path / "work" / "source"
    (source / "sub").mkdir(parents=True)
    (source / "config.json").write_text("{}")
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "weights").touch()
    (source / "model.safetensors").symlink_to(tmp_path / "blobs" / "weights")
    monkeypatch.chdir(tmp_path / "other")
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    (tmp_path / "home" / "me").mkdir(parents=True)
    before = listing(tmp_path)
    cases = {
        source: "is the source",
        f"{source}/": "is the source",
        f"{source}/../source": "is the source",
        f"{source}/new": "lies in the source",
        f"{source}/sub/..": "is the source",
        f"{source}/sub": "lies in the source",
        tmp_path / "link" / "new": "lies in the source",
        source.parent: "contains the source",
        tmp_path / "blobs": "contains the source",
        tmp_path: "contains the source",
        "/": "contains the source",
        "..": "contains the source",
        tmp_path / "link": "is a link",
        tmp_path / "dangling": "is a link",
        tmp_path / "file": "is a file",
        tmp_path / "file" / "x": "is not a directory",
        ".": "is or contains the current directory",
        tmp_path / "other": "is or contains the current directory",
        tmp_path / "home": "is or contains the home directory",
        "/proc": "is a mount",
    }
    for given in (source, f"{source}/", os.path.relpath(source), tmp_path / "link"):
        for destination, message in cases.items():
            if destination == "/proc" and not os.path.ismount("/proc"):
                continue
            with pytest.raises((OSError, ValueError), match=message):
                check_destination(destination, "me", given, overwrite)
    assert listing(tmp_path) == before
    assert check_destination("new", "me", "someone/repository", overwrite) == tmp_path / "other" / "new"
    assert check_destination(tmp_path / "work" / "source2", "me", source, overwrite).name == "source2"


def test_a_failed_rename_brings_the_old_one_back(tmp_path, monkeypatch):
    make(tmp_path / "out", "old")
    rename, calls = os.rename, []

    def second_fails(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise OSError("stale handle")
        rename(source, target)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(OSError, match="stale handle"):
        make(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out" / "config.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import files  # without the package, whose import takes seconds

def write(out, text):
    with files.new_directory(out, "me", overwrite=True) as directory:
        for name in ("config.json", "tokenizer.json"):
            (directory / name).write_text(text)

def dies_before(step):
    calls = iter(range(1, 1000))
    def watched(function):
        def call(*args, **options):
            if next(calls) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)
        return call
    for name in ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync"):
        setattr(os, name, watched(getattr(os, name)))

step, status = 0, None
while status != 0:
    step += 1
    out = Path(sys.argv[2], str(step), "out")
    write(out, "old")
    child = os.fork()
    if child == 0:
        dies_before(step)
        write(out, "new")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
"""


def test_a_kill_at_any_moment_leaves_one_of_the_two(tmp_path):
    """Killed before each of its calls of the system; then as the next call finds it."""
    folder = Path(files.__file__).parent
    done = subprocess.run([sys.executable, "-c", KILLED, folder, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names, results = ("config.json", "tokenizer.json"), []
    for number in sorted(map(int, os.listdir(tmp_path))):
        out = tmp_path / str(number) / "out"
        places = [place for place in out.parent.iterdir() if all((place / name).exists() for name in (*names, RECORD))]
        whole = [{(place / name).read_text() for name in names} for place in places]
        assert {"old"} in whole or {"new"} in whole
        check_destination(out, "me", overwrite=True)
        assert os.listdir(out.parent) == ["out"]
        results.append({(out / name).read_text() for name in names})
    turn = results.index({"new"})
    assert turn > 10
    assert all(result == {"old"} for result in results[:turn])
    assert all(result == {"new"} for result in results[turn:])
    assert len(results) > turn + 4


def test_what_a_killed_call_left_is_not_taken_for_ours_when_others_use_it(tmp_path):
    left = tmp_path / ".out.triptych-new"
    left.mkdir()
    (left / "config.json").write_text("half")
    (left / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match=r"holds what others put there \(thesis\.tex\)"):
        make(tmp_path / "out")
    assert listing(left) == ["thesis.tex"]


def test_two_at_once(tmp_path):
    with new_directory(tmp_path / "out", "me") as directory:
        (directory / "config.json").write_text("first")
        with pytest.raises(FileExistsError, match="another process is writing"):
            make(tmp_path / "out", "second")
    assert (tmp_path / "out" / "config.json").read_text() == "first"


# ---- damaged files --------------------------------------------------------------------------------------------------


@pytest.fixture
def model_directory(tmp_path):
    directory = tmp_path / "model[1]"
    directory.mkdir()
    write_json(directory / "config.json", {"model_type": "triptych"})
    write_json(directory / "generation_config.json", {"num_beams": 4})
    for number in (1, 2):
        save_file({f"w{number}": torch.ones(3)}, directory / f"model-{number:05}-of-00002.safetensors")
    places = {f"w{number}": f"model-{number:05}-of-00002.safetensors" for number in (1, 2)}
    write_json(directory / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    return directory


DAMAGES = {
    "half": lambda raw: raw[: len(raw) // 2],
    "empty": lambda raw: b"",
    "list": lambda raw: b"[]",
    "null": lambda raw: b"null",
    "not utf-8": lambda raw: b"\xff\xfe" + raw,
    "lying length": lambda raw: (2**60).to_bytes(8, "little") + raw[8:],
    "deep": lambda raw: b"[" * 100_000,
    "cut at the end": lambda raw: raw[:-3],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name",
    ["config.json", "generation_config.json", "model.safetensors.index.json", "model-00002-of-00002.safetensors"],
)
def test_a_damaged_file_is_named(model_directory, name, damage):
    check_model_files(model_directory)
    path = model_directory / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=r"is damaged \(.*\); copy or download it again$") as raised:
        check_model_files(model_directory)
    assert str(raised.value).startswith(str(path))


def test_weights_are_what_the_index_names(model_directory):
    save_file({"w1": torch.zeros(3)}, model_directory / "model_ema.safetensors")
    save_file({"w1": torch.zeros(3)}, model_directory / "model-00003-of-00003.safetensors")
    assert [file.name[:11] for file in weight_files(model_directory)] == ["model-00001", "model-00002"]
    (model_directory / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks model-00001-of-00002\.safetensors, which"):
        weight_files(model_directory)
    save_file({"w1": torch.ones(3)}, model_directory / "model.safetensors")
    assert [file.name for file in weight_files(model_directory)] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "pytorch_model.bin", 3])
def test_an_index_reaches_no_other_file(model_directory, name):
    write_json(model_directory / "model.safetensors.index.json", {"weight_map": {"w1": name}})
    with pytest.raises(ValueError, match="as a file of weights"):
        weight_files(model_directory)


def test_an_object_is_read_as_it_is(tmp_path):
    write_json(tmp_path / "a.json", {"ä": [1, None]})
    assert read_json(tmp_path / "a.json") == {"ä": [1, None]}
    assert json.loads((tmp_path / "a.json").read_text()) == {"ä": [1, None]}
