"""docs/exporting.md: its commands and its Python blocks run in the order of the page, on a tiny model."""

import re
import shlex
from pathlib import Path

import pytest

from console import run_here
from pages import DOCS, blocks_of
from triptych.export import FORMATS
from triptych.export.ctranslate2_model import LOADERS

PAGE = (DOCS / "exporting.md").read_text("utf-8")
PAIRS = [(f"The window {i} is open.", f"Das Fenster {i} ist offen.") for i in range(12)]
BOUNDS = "--max_steps 2 --cpu --cpu_threads 1 --report_to none --logging_steps 1 --hidden_size 32 --vocab_size 300"
BOUNDS += " --num_attention_heads 2 --intermediate_size 64 --encoder_layers 1 --decoder_layers 1"


@pytest.mark.slow
@pytest.mark.integrations("ctranslate2")
def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{source}\t{target}\n" for source, target in PAIRS)
    Path("pairs.tsv").write_text(f"source\ttarget\n{rows}", encoding="utf-8")
    for block in blocks_of("exporting.md"):
        if block.language == "python":
            exec(compile(block.code, "docs/exporting.md", "exec"), {})
            continue
        for line in block.code.splitlines():
            program, *words = shlex.split(line)
            assert program == "triptych"
            run_here(words + (BOUNDS.split() if words[0] == "train-translation" else []))
    assert "MarianMTModel" in capsys.readouterr().out
    assert Path("translator-int8", "model.bin").is_file()


def test_the_page_names_every_format():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [*FORMATS]
    (row,) = re.findall(r"^\| `ct2` \|.*$", PAGE, re.MULTILINE)
    named = {name.lower().replace("-", "") for name in re.findall(r"[A-Za-z][\w-]+", row)}
    assert {*LOADERS} <= named
