"""Every script refuses an option that it does not have, and says which one is close, before it does anything."""

import runpy
import sys
from pathlib import Path

import pytest

import triptych.training.script  # noqa: F401 (torchao says something when it is imported; so it does that here)

SCRIPTS = Path(__file__).parents[2] / "scripts"
MISSPELT = {
    "build_corpus": (["--wheel_dirs", "wheels"], "--wheel_dir"),
    "convert": (["a", "b", "--model_typ", "gpt2"], "--model_type"),
    "demo": (["--num_epochs", "3"], "--num_train_epochs"),
    "evaluate_translation": (["a", "--test_files", "b.tsv"], "--test_file"),
    "export": (["a", "--formats", "ct2", "--output_dir", "b"], "--format"),
    "finetune_question_answering": (
        ["--train_file", "a.json", "--max_lenght", "3", "--output_dir", "b"],
        "--max_length",
    ),
    "train_summarization": (["--train_file", "a.tsv", "--num_beam", "3", "--output_dir", "b"], "--num_beams"),
    "train_tokenizer": (["--train_file", "a.tsv", "--vocab_sise", "300", "--output_dir", "b"], "--vocab_size"),
    "train_translation": (["--train_file", "a.tsv", "--num_epochs", "3", "--output_dir", "b"], "--num_train_epochs"),
    "translate": (["a", "--num_beam", "3"], "--num_beams"),
    "finetune_classification": (["--train_files", "a.tsv", "--output_dir", "b"], "--train_file"),
    "finetune_tagging": (["--train_file", "a.conllu", "--tag_columns", "upos"], "--tag_column"),
    "pretrain_causal_lm": (["--train_file", "a.txt", "--blok_size", "9", "--output_dir", "b"], "--block_size"),
    "pretrain_masked_lm": (["--train_file", "a.txt", "--maskin", "word", "--output_dir", "b"], "--masking"),
    "write_help": (["--helpp"], "--help"),
    "zoo": (["--note"], "--notes"),
}


def test_no_script_is_left_out():
    assert {script.stem for script in SCRIPTS.glob("*.py")} == MISSPELT.keys()


@pytest.mark.parametrize("script", MISSPELT)
def test_a_misspelt_option_is_refused(script, tmp_path, monkeypatch, capsys):
    words, close = MISSPELT[script]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS / f"{script}.py"), *words])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    assert stop.value.code == 2
    output = capsys.readouterr()
    wrong = next(word for word in words if word.startswith("--") and word != "--train_file")
    assert (output.out, output.err) == ("", f"error: there is no option {wrong}; did you mean {close}?\n")
    assert list(tmp_path.iterdir()) == []


def test_a_complete_demo_refuses_it_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "test_metrics.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["demo.py", "--max_minute", "3"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / "demo.py"), run_name="__main__")
    assert stop.value.code == 2
    assert "there is no option --max_minute; did you mean --max_minutes?" in capsys.readouterr().err
