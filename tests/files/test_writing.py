"""A file appears whole, or not at all."""

import os
import stat
from pathlib import Path

import pytest

from triptych.files import is_plain, publish, write_text

from .conftest import listing


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
