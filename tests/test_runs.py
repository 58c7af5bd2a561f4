"""docs/runs.md: its commands run in their order, on small files that look like those of the package."""

import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

import triptych_command

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "runs.md").read_text(encoding="utf-8")
# What bounds a training of minutes, and the size of a new vocabulary.
BOUNDS = "--max_steps 2 --logging_steps 1 --evaluation_steps 2 --cpu --cpu_threads 1 --report_to none"
BOUNDS += " --hidden_size 16 --num_attention_heads 2 --intermediate_size 16 --vocab_size 300"


def write_brown() -> None:
    folder = Path("package")
    folder.mkdir()
    sentence = "\tKim/np saw/vbd and/or/cc Ada's/np$ Oslo/np-tl ,/, Bob/np {name}/np ./.\n\n\n"
    for document in ("ca01", "ca02", "ca03", "cr01"):
        names = ("Bob", "Ada", "Eve", "Kim") * 5
        (folder / document).write_text("".join(sentence.format(name=name) for name in names))
    (folder / "CONTENTS").write_text("not a document")


def run_line(line: str) -> None:
    """A line of a bash block, in this process, with fewer updates."""
    program, *words = shlex.split(os.path.expandvars(line))
    if program == "triptych":
        AcceleratorState._reset_state(True)
        triptych_command.main([*words, *BOUNDS.split()])
    else:
        assert program == "python"
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("SCRIPTS", str(DOCS / "runs"))
    write_brown()
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        for line in block.splitlines():
            run_line(line)
    assert '"tags": ["NOUN", "VERB", "CONJ", "NOUN", "NOUN", "."' in Path("brown-test.jsonl").read_text()
    for name in re.findall(r"--output_dir (\S+)", PAGE):
        assert (Path(name) / "config.json").is_file()


def test_its_links_and_pictures_are_there():
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE)
    assert links
    for link in links:
        assert (DOCS / link).is_file(), link
    for script in re.findall(r"\$SCRIPTS/(\w+\.py)", PAGE):
        assert (DOCS / "runs" / script).is_file(), script
