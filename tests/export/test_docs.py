"""docs/exporting.md: its commands and its Python blocks run in the order of the page, on a tiny model."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

import triptych_command
from triptych.export import FORMATS
from triptych.export.ctranslate2_model import LOADERS

PAGE = (Path(__file__).parents[2] / "docs" / "exporting.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PAIRS = [(f"The window {i} is open.", f"Das Fenster {i} ist offen.") for i in range(12)]
BOUNDS = "--max_steps 2 --cpu --cpu_threads 1 --report_to none --logging_steps 1 --hidden_size 32 --vocab_size 300"
BOUNDS += " --num_attention_heads 2 --intermediate_size 64 --encoder_layers 1 --decoder_layers 1"


@pytest.mark.slow
@pytest.mark.integrations("ctranslate2")
def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)  # which the command replaces
    rows = "".join(f"{source}\t{target}\n" for source, target in PAIRS)
    Path("pairs.tsv").write_text(f"source\ttarget\n{rows}", encoding="utf-8")
    for language, code in BLOCKS:
        if language == "python":
            exec(compile(code, "docs/exporting.md", "exec"), {})
            continue
        for line in code.splitlines():
            words = shlex.split(line)
            assert words[0] == "triptych"
            AcceleratorState._reset_state(True)
            triptych_command.main(words[1:] + (BOUNDS.split() if words[1] == "train-translation" else []))
    assert "MarianMTModel" in capsys.readouterr().out
    assert Path("translator-int8", "model.bin").is_file()


def test_the_page_names_every_format():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [*FORMATS]
    (row,) = re.findall(r"^\| `ct2` \|.*$", PAGE, re.MULTILINE)
    named = {name.lower().replace("-", "") for name in re.findall(r"[A-Za-z][\w-]+", row)}
    assert {*LOADERS} <= named
