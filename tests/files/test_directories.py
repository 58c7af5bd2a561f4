"""A directory appears whole, or not at all, and replaces only what its writer wrote."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from triptych import files
from triptych.files import RECORD, check_destination, new_directory, write_json

from .conftest import listing, make


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
import files  # without the package triptych, whose import takes seconds

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
    folder = Path(files.__file__).parents[1]
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


def test_what_a_killed_call_left_is_not_removed_when_another_program_uses_it(tmp_path):
    left = tmp_path / ".out.triptych-new"
    left.mkdir()
    (left / "config.json").write_text("half")
    (left / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match=r"holds what another program put there \(thesis\.tex\)"):
        make(tmp_path / "out")
    assert listing(left) == ["thesis.tex"]


def test_two_at_once(tmp_path):
    with new_directory(tmp_path / "out", "me") as directory:
        (directory / "config.json").write_text("first")
        with pytest.raises(FileExistsError, match="another process is writing"):
            make(tmp_path / "out", "second")
    assert (tmp_path / "out" / "config.json").read_text() == "first"
