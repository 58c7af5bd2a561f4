"""The fixture `once`: what takes long is made by one process of a run, and kept only if it was made to its end."""

import pytest


def test_a_folder_is_filled_once(once):
    calls = []

    def fill(folder):
        calls.append(folder)
        (folder / "file").write_text("made")

    folders = [once("test-once", fill) for _ in range(2)]
    assert calls == folders[:1]
    assert folders[0] == folders[1]
    assert (folders[0] / "file").read_text() == "made"


def test_what_failed_is_made_anew(once):
    def fail(folder):
        (folder / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        once("test-once-failed", fail)
    folder = once("test-once-failed", lambda folder: (folder / "file").touch())
    assert [path.name for path in folder.iterdir()] == ["file"]
