import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset

from triptych.tokenization import load_tokenizers

# What torchao says when transformers imports it, where it is installed.
TORCHAO = re.compile(r"^(Failed to load .*/torchao/|W\d{4} .*_pytree\.py).*\n", re.MULTILINE)

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_tokenizer.py"


@pytest.fixture
def in_process(tmp_path, tmp_path_factory):
    """Runs the script in a process of its own."""
    environment = {**os.environ, "HF_HOME": str(tmp_path_factory.mktemp("cache")), "HF_HUB_OFFLINE": "1"}

    def run(*arguments: object) -> tuple[int, str, str]:
        command = [sys.executable, str(SCRIPT), *map(str, arguments)]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout, TORCHAO.sub("", ran.stderr)

    return run


@pytest.fixture
def here(tmp_path, tmp_path_factory, monkeypatch, capsys):
    """Runs the script in the process of the test, which saves the seconds that a start of Python takes."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        capsys.readouterr()  # a slow fixture shows a progress bar
        code = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def pairs(texts, tmp_path) -> Path:
    """English and German columns under other names than the defaults; a quotation mark, and the word null."""
    rows = {"en": [*texts, 'a "quoted word', "null"]}
    Dataset.from_dict(rows | {"de": [text.upper() for text in rows["en"]]}).to_csv(tmp_path / "pairs.tsv", sep="\t")
    return tmp_path / "pairs.tsv"


def test_joint_vocabulary(in_process, pairs, tmp_path):
    code, output, errors = in_process(
        *("--train_file", pairs, "--source_column", "en", "--target_column", "de"),
        *("--vocab_size", 300, "--output_dir", "new/joint"),
    )
    assert (code, errors) == (0, "train: repeated rows, kept: 114\n")
    assert "source + target: 300 tokens, " in output
    assert " tokens per word, 0.00% unknown" in output
    tokenizer, none = load_tokenizers(tmp_path / "new" / "joint")
    assert none is None
    assert len(tokenizer) == 300
    assert sorted(os.listdir(tmp_path)) == ["new", "pairs.tsv"]
    assert os.listdir(tmp_path / "new") == ["joint"]


def test_separate_vocabularies_replace_a_tokenizer_only_when_told(here, pairs, tmp_path):
    options = [
        *("--train_file", pairs, "--source_column", "en", "--target_column", "de", "--separate"),
        *("--model", "character", "--vocab_size", 100, "--output_dir", "out"),
    ]
    assert here(*options)[0] == 0
    source, target = load_tokenizers(tmp_path / "out")
    assert "t" in source.get_vocab()
    assert "t" not in target.get_vocab()

    code, _, errors = here(*options, "--normalization", "uncased")
    assert code == 2
    assert errors.endswith("out holds a tokenizer already; choose another, or give --overwrite\n")
    assert "t" not in load_tokenizers(tmp_path / "out")[1].get_vocab()

    assert here(*options, "--normalization", "uncased", "--overwrite")[0] == 0
    assert "t" in load_tokenizers(tmp_path / "out")[1].get_vocab()
    assert sorted(os.listdir(tmp_path)) == ["out", "pairs.tsv"]

    # What others put there stays, under whatever name; and so does what others wrote.
    for name in ("notes.txt", "target_tokenizer/notes.txt", "merges.txt"):
        (tmp_path / "out" / name).write_text("precious")
        code, _, errors = here(*options, "--overwrite")
        assert code == 2
        assert Path(name).name in errors
        assert (tmp_path / "out" / name).read_text() == "precious"
        (tmp_path / "out" / name).unlink()
    load_tokenizers(tmp_path / "out")[0].save_pretrained(tmp_path / "other")
    options[-1] = "other"
    code, _, errors = here(*options, "--overwrite")
    assert code == 2
    assert "holds what was not written there by train_tokenizer.py" in errors


def test_plain_text_files(here, texts, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(texts), encoding="utf-8")
    (tmp_path / "b.txt").write_text("Ω\n\nΩ\n", encoding="utf-8")
    code, _, errors = here(
        *("--train_file", "a.txt", "b.txt", "--model", "wordpiece", "--family", "encoder"),
        *("--vocab_size", 250, "--model_max_length", 32, "--output_dir", "out"),
    )
    assert code == 0, errors
    tokenizer, _ = load_tokenizers(tmp_path / "out")
    assert tokenizer.convert_ids_to_tokens(tokenizer("Ω")["input_ids"]) == ["[CLS]", "Ω", "[SEP]"]
    assert tokenizer.model_max_length == 32


def test_two_plain_text_files_are_a_pair_where_vocabularies_are_separate(here, tmp_path):
    (tmp_path / "a.en").write_text("one\ntwo\u2028two\n", encoding="utf-8")
    (tmp_path / "a.de").write_text("EINS\nZWEI\n", encoding="utf-8")
    options = ["--train_file", "a.en", "a.de", "--model", "character", "--vocab_size", 50, "--output_dir"]
    assert here(*options, "joint")[0] == 0
    assert here(*options, "pair", "--separate")[0] == 0
    joint, (source, target) = load_tokenizers(tmp_path / "joint")[0], load_tokenizers(tmp_path / "pair")
    assert {"o", "E", "\u2028"} <= joint.get_vocab().keys()
    assert ("o" in source.get_vocab(), "E" in source.get_vocab()) == (True, False)
    assert ("o" in target.get_vocab(), "E" in target.get_vocab()) == (False, True)


def test_rows_that_are_left_out_are_told(here, tmp_path):
    (tmp_path / "a.tsv").write_text("en\tde\t©\none\teins\tx\n\tzwei\tx\none\teins\tx\n", encoding="utf-8")
    code, _, errors = here(
        *("--train_file", "a.tsv", "--source_column", "en", "--target_column", "de", "--empty", "drop"),
        *("--model", "character", "--vocab_size", 50, "--output_dir", "out"),
    )
    assert code == 0
    assert errors.startswith("train: empty rows left out: 1 of 3\ntrain: repeated rows, kept: 1\n")


def test_data_set_with_one_column(in_process, texts, tmp_path):
    (tmp_path / "data").mkdir()
    Dataset.from_dict({"content": texts, "label": [0] * len(texts)}).to_parquet(tmp_path / "data" / "train.parquet")
    code, _, errors = in_process(
        *("--dataset_name", "data", "--text_column", "content", "--family", "decoder"),
        *("--vocab_size", 5000, "--output_dir", "out"),
    )
    assert code == 0, errors
    tokenizer, _ = load_tokenizers(tmp_path / "out")
    remarks = [
        "train: repeated rows, kept: 114",
        f"the texts fill {len(tokenizer)} of vocab_size=5000 tokens (model='bpe')",
    ]
    assert errors.splitlines() == remarks
    assert tokenizer.padding_side == "left"


def test_an_error_ends_the_process_with_code_2(in_process):
    code, output, errors = in_process("--train_file", "missing.tsv", "--output_dir", "out")
    assert (code, output, errors) == (2, "", "error: missing.tsv does not exist\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --train_file or --dataset_name"),
        (["--train_file", "missing.tsv"], "missing.tsv"),
        (["--train_file", "missing.txt"], "missing.txt"),
        (["--train_file", "pairs[1].tsv"], "pairs[1].tsv does not exist"),
        (["--train_file", "*.txt"], "*.txt does not exist"),
        (
            ["--train_file", "pairs.tsv", "--vocab_sise", "300"],
            "there is no option --vocab_sise; did you mean --vocab_size?",
        ),
        (["--train_file", "pairs.tsv", "--vocab", "300"], "there is no option --vocab; did you mean --vocab_size?"),
        (["--train_file", "empty.txt"], "empty.txt is empty"),
        (["--train_file", "blank.txt"], "no text to train a tokenizer on"),
        (
            ["--train_file", "nulls.jsonl", "--text_column", "text"],
            "nulls.jsonl: 1 row has no text: line 2",
        ),
        (["--train_file", "empty.tsv"], "empty.tsv is empty"),
        (["--train_file", "latin1.txt"], "latin1.txt: line 1 is not UTF-8"),
        (["--train_file", "empty.txt", "--separate"], "--separate needs pairs"),
        (["--train_file", "pairs.tsv"], "pairs.tsv has no column 'source'"),
        (["--train_file", "pairs.tsv", "--text_column", "fr"], "pairs.tsv has no column 'fr'; it has 'en', 'de'"),
        (["--train_file", "pairs.tsv", "--text_column", "en", "--vocab_size", "99"], "vocab_size=99 is too small"),
        (["--train_file", "pairs.tsv", "--text_column", "en", "--output_dir", "run"], "something else (weights)"),
        (["--train_file", "pairs.tsv", "--text_column", "en", "--output_dir", "empty.txt"], "empty.txt is a file"),
    ],
)
def test_errors_are_one_line(here, pairs, tmp_path, arguments, message):
    for empty in ("empty.txt", "empty.tsv"):
        (tmp_path / empty).touch()
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "latin1.txt").write_bytes("Überraschung\n".encode("latin1"))
    (tmp_path / "nulls.jsonl").write_text('{"text": "a"}\n{"text": null}\n')
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights").touch()
    before = sorted(tmp_path.rglob("*"))
    code, _, errors = here("--output_dir", "out", *arguments)
    assert code == 2
    *remarks, error = errors.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert [remark for remark in remarks if not remark.startswith("train: repeated rows")] == []
    assert sorted(tmp_path.rglob("*")) == before
