"""docs/serving.md: its blocks run in order, those for a machine without the package in such a process."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from alone import run_alone, serving
from console import search_path
from pages import blocks_of

BLOCKS = blocks_of("serving.md")
SERVE, PORT = "transformers serve ", " --port 8000"  # the command of the page; a test takes another port that is free


def test_the_kinds_of_the_blocks():
    kinds = [" ".join([block.language, *block.flags]) for block in BLOCKS]
    assert kinds == ["python", "bash server", "bash", "bash", "python", "python without-the-package"]


def bash(code: str, environment: dict[str, str]) -> str:
    """What a command prints."""
    command = [str(shutil.which("bash")), "-euc", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_the_blocks_run_and_print_what_the_page_says(needs, tmp_path: Path, monkeypatch):
    for module in ("fastapi", "uvicorn", "openai", "sentence_transformers"):
        needs(module)
    monkeypatch.chdir(tmp_path)
    make_chat, start, ask, convert, make_sentences, reload = BLOCKS
    namespace: dict = {}
    environment = os.environ | {"PATH": search_path(tmp_path / "programs")}
    exec(make_chat.code, namespace)
    assert start.code.startswith(SERVE)
    assert PORT in start.code
    with serving(start.code.removeprefix(SERVE).replace(PORT, "").split(), tmp_path) as address:
        asked = bash(ask.code.replace("http://localhost:8000", address), environment)
    answer = json.loads(asked)
    assert answer["choices"][0]["message"]["role"] == "assistant", answer
    assert answer["usage"]["completion_tokens"] > 0
    bash(convert.code, environment)
    assert json.loads(Path("native/config.json").read_text())["architectures"] == ["GPT2LMHeadModel"]
    exec(make_sentences.code, namespace)
    assert reload.shown
    assert reload.shown in run_alone(reload.code, ["sentence_transformers"])  # other libraries may print something
