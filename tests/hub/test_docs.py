"""docs/sharing.md: its blocks run in order, those for a machine without the package in such a process."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import triptych
from triptych.hub import code_files

PAGE = Path(__file__).parents[2] / "docs" / "sharing.md"
BLOCKS = re.findall(r"^```(.+?)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
ALONE = "import sys; sys.path.append({site!r}); exec(open(0).read())"


@pytest.mark.slow
def test_the_examples_run_and_print_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(triptych.TriptychDecoderConfig, "saves_code", True)
    namespace: dict = {}
    alone = 0
    for (language, code), (following, shown) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
        if language == "python":
            exec(code, namespace)
        elif language == "python without-the-package":
            assert following == "text"
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            command = [sys.executable, "-S", "-c", ALONE.format(site=sysconfig.get_path("purelib"))]
            done = subprocess.run(
                command,
                input=code,
                env={**environment, "HF_MODULES_CACHE": "modules"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert shown in done.stdout  # other libraries that are installed here may print something, too
            alone += 1
    assert alone == 1
    assert {path.name for path in Path("travels-again").glob("*.py")} == {*code_files()}
    assert not list(Path("stays").glob("*.py"))
