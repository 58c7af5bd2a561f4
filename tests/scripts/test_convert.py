"""There and back through directories, with the tokenizer."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from triptych.conversion.directories import convert_directory
from triptych.tokenization import train_tokenizer

from . import running


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    tokenizer = train_tokenizer(["the light is on", "the door is shut"] * 5, "bpe", 300, family="decoder")
    ids = {f"{name}_token_id": tokenizer.eos_token_id for name in ("bos", "eos", "pad")}
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=32, **ids)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2", max_shard_size="8KB")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


@pytest.mark.slow
def test_there_and_back(checkpoint: Path, tmp_path: Path):
    done = running.run("convert.py", checkpoint, tmp_path / "ours", max_shard_size="8KB")
    assert done.returncode == 0, done.stderr
    assert "TriptychDecoderForCausalLM" in done.stdout
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 2
    done = running.run("convert.py", tmp_path / "ours", tmp_path / "back", to="hf")
    assert done.returncode == 0, done.stderr

    texts, answers = ["the light", "the door is"], []
    for directory in (checkpoint, tmp_path / "ours", tmp_path / "back"):
        tokenizer = AutoTokenizer.from_pretrained(directory)
        model = AutoModelForCausalLM.from_pretrained(directory).eval()
        inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        answers.append(model.generate(**inputs, max_new_tokens=6, do_sample=False))
    assert torch.equal(answers[1], answers[0])
    assert torch.equal(answers[2], answers[0])
    original, back = (GPT2LMHeadModel.from_pretrained(d).state_dict() for d in (checkpoint, tmp_path / "back"))
    assert all(torch.equal(value, back[name]) for name, value in original.items())


@pytest.mark.slow
def test_mistakes_are_told_in_one_line(checkpoint: Path, tmp_path: Path):
    done = running.run("convert.py", checkpoint, checkpoint.parent)
    assert (done.returncode, done.stderr.splitlines()[-1][:6]) == (2, "error:")
    assert "exists; choose another directory" in done.stderr
    done = running.run("convert.py", tmp_path / "nowhere", tmp_path / "ours")
    assert done.returncode == 2
    assert f"{tmp_path / 'nowhere'} does not exist" in done.stderr
    assert not (tmp_path / "ours").exists()


def test_an_architecture_without_to_hf_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["convert.py", "gpt2", str(tmp_path / "x"), "--model_type", "llama"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(running.SCRIPTS / "convert.py"), run_name="__main__")
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "error: model_type='llama' names an architecture of transformers, but a Triptych model is written; "
        "leave model_type out, or give to='hf' (--to hf)\n"
    )
    assert not (tmp_path / "x").exists()
    with pytest.raises(ValueError, match="model_type='llama' names"):
        convert_directory("gpt2", tmp_path / "x", model_type="llama")


def test_overwrite_replaces_what_the_script_wrote_and_nothing_else(checkpoint: Path, tmp_path, monkeypatch, capsys):
    """From the working directory that once was emptied, and over a result of its own."""
    work = tmp_path / "w"
    work.mkdir()
    (work / "thesis.tex").write_text("precious")
    monkeypatch.chdir(work)

    def convert(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["convert.py", *arguments, "--overwrite"])
        try:
            runpy.run_path(str(running.SCRIPTS / "convert.py"), run_name="__main__")
        except SystemExit as exit:
            return exit.code
        return 0

    assert convert("../gpt2", ".") == 2
    assert capsys.readouterr().err == "error: . is or contains the current directory; choose another directory\n"
    assert [path.name for path in work.iterdir()] == ["thesis.tex"]
    for _ in range(2):
        assert convert("../gpt2", "../ours") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpt2", "ours", "w"]
    assert AutoTokenizer.from_pretrained(tmp_path / "ours")("the light")["input_ids"]
