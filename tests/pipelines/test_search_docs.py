"""docs/search.md: its blocks run in order, in an empty folder, and print what the page says."""

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from console import search_path
from pages import blocks_of

BLOCKS = blocks_of("search.md")


def test_what_the_page_prints_is_compared():
    assert {block.language for block in BLOCKS} == {"python", "bash"}
    assert {flag for block in BLOCKS for flag in block.flags} == {"with-faiss"}
    printing = [block for block in BLOCKS if "print(" in block.code]
    assert len(printing) >= 6
    assert all(block.shown for block in printing)


@pytest.mark.slow
def test_the_blocks_run_and_print_what_the_page_says(tmp_path: Path, monkeypatch, capsys):
    """Without a registry of packages the test is skipped."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    environment = os.environ | {"PATH": search_path(tmp_path / "programs")}
    for block in BLOCKS:
        if block.language == "bash":
            command = [str(shutil.which("bash")), "-euc", block.code]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode and "pip download" in block.code:
                pytest.skip(f"pip cannot download the model: {done.stderr[-200:]}")
            assert done.returncode == 0, done.stderr
        elif "with-faiss" not in block.flags or find_spec("faiss") or os.environ.get("TRIPTYCH_REQUIRE_INTEGRATIONS"):
            exec(block.code, namespace)
            if block.shown:
                assert capsys.readouterr().out == block.shown
            capsys.readouterr()
