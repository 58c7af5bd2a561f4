"""docs/data.md: its Python blocks run in order, in an empty folder, and print what the page says; its commands run."""

import os
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from console import search_path

REPOSITORY = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", (REPOSITORY / "docs" / "data.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)


def run_python(capsys) -> list[tuple[str, str]]:
    """Runs the Python blocks; each output with the one that the page shows."""
    namespace, outputs = {"__name__": "__main__"}, []
    for (language, code), (following, shown) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
        if language == "python":
            assert following == "text", code
            exec(code, namespace)
            outputs.append((capsys.readouterr().out, shown))
    return outputs


def test_the_examples_print_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    outputs = run_python(capsys)
    assert len(outputs) >= 6
    for printed, shown in outputs:
        assert printed == shown


def test_the_options_of_the_page_exist():
    from triptych.training.tasks.classification import ClassificationArguments
    from triptych.training.tasks.tagging import TaggingArguments
    from triptych.training.tasks.translation import TranslationArguments

    page = (REPOSITORY / "docs" / "data.md").read_text("utf-8")
    named = set(re.findall(r"`--(\w+)", page)) - {"separate"}  # of train-tokenizer
    assert {"quoting", "surplus", "empty", "column_names", "file_format", "delimiter"} <= named
    classes = (TranslationArguments, ClassificationArguments, TaggingArguments)
    assert named <= {field.name for arguments in classes for field in fields(arguments)}


@pytest.mark.slow
def test_the_commands_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_python(capsys)
    Path("a.de").write_text("Geh.\nHallo.\n")
    path = search_path(tmp_path / "programs")
    [commands] = [code for language, code in BLOCKS if language == "bash"]
    subprocess.run([shutil.which("bash"), "-euc", commands], check=True, env=os.environ | {"PATH": path})
    assert {"tokenizer", "two"} <= set(os.listdir())
