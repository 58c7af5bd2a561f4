"""docs/pipelines.md: its blocks run in order, the one for a machine without the package in such a process."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from tiny import make_model, word_tokenizer
from triptych.pipelines import withdraw

from .conftest import marian, talkative

PAGE = Path(__file__).parents[2] / "docs" / "pipelines.md"
BLOCKS = re.findall(r"^```(.+?)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
ALONE = "import sys; sys.path.append({site!r}); exec(open(0).read())"
WORDS = ["The", "light", "is", "on.", "window", "open.", "Good", "morning.", "Where", "Kim?", "Kim", "in", "Oslo."]


def save(model, tokenizer: PreTrainedTokenizerFast, directory: str) -> None:
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@pytest.fixture
def directories(tmp_path, monkeypatch):
    """The models that the page names."""
    monkeypatch.chdir(tmp_path)
    tokenizer = word_tokenizer(WORDS)
    sizes = {"vocab_size": len(tokenizer), "positions": "learned", "max_position_embeddings": 32}
    save(talkative(make_model("encoder_decoder", **sizes)), tokenizer, "translator")
    save(make_model("TriptychEncoderForQuestionAnswering", **sizes), tokenizer, "reader")
    save(talkative(marian(len(tokenizer))), tokenizer, "Helsinki-NLP/opus-mt-en-de")
    yield
    withdraw()


def run_without_package(code: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", ALONE.format(site=sysconfig.get_path("purelib"))],
        input=code,
        env={**environment, "HF_MODULES_CACHE": "modules"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_examples_run_and_print_what_the_page_says(directories, capsys):
    namespace: dict = {}
    shown_outputs = 0
    for (language, code), (following, shown) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
        if language == "text":
            continue
        if language == "python":
            exec(code, namespace)
            printed = capsys.readouterr().out
        else:
            assert language == "python without-the-package"
            printed = run_without_package(code)
        if following == "text":
            shown_outputs += 1
            assert printed.endswith(shown)
    assert shown_outputs == 2
    assert len(namespace["pieces"]) == 40
    assert namespace["translation"].count("\n\n") == 39
