"""docs/sharing.md: its blocks run in order, those for a machine without the package in such a process."""

from pathlib import Path

import pytest

import triptych
from alone import run_alone
from pages import blocks_of
from triptych.hub import code_files


@pytest.mark.slow
def test_the_examples_run_and_print_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(triptych.TriptychDecoderConfig, "saves_code", True)
    namespace: dict = {}
    alone = 0
    for block in blocks_of("sharing.md"):
        if "without-the-package" in block.flags:
            assert block.shown
            assert block.shown in run_alone(block.code)  # other libraries may print something, too
            alone += 1
        elif block.language == "python":
            exec(block.code, namespace)
    assert alone == 1
    assert {path.name for path in Path("travels-again").glob("*.py")} == {*code_files()}
    assert not list(Path("stays").glob("*.py"))
