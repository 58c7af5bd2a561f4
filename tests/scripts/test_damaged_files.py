"""A damaged file is named in one line, by every script that reads a model."""

import json
import re
import runpy
import sys

import pytest

from triptych import TriptychConfig, TriptychForConditionalGeneration
from triptych.tokenization import save_tokenizers, special_token_config, train_tokenizer

from . import running


@pytest.fixture(scope="module")
def model_files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["one red house", "two green trees"], "bpe", 280)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    config = TriptychConfig(**(sizes | special_token_config(tokenizer)))
    TriptychForConditionalGeneration(config).save_pretrained(directory)
    save_tokenizers(directory, tokenizer)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def script(tmp_path, monkeypatch, capsys):
    """Runs a script in the process of the test; gives its exit status and what it says."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(running.SCRIPTS / name), run_name="__main__")
        except SystemExit as exit:
            code = exit.code
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"])
def test_the_file_is_named(model_files, script, tmp_path, name):
    directory = tmp_path / "model"
    directory.mkdir()
    for file, content in model_files.items():
        (directory / file).write_bytes(content[:-9] if file == name else content)
    (tmp_path / "pairs.tsv").write_text("source\ttarget\none\teins\n")
    for line in (
        ("translate.py", directory, "one red house"),
        ("evaluate_translation.py", directory, "--test_file", tmp_path / "pairs.tsv", "--cpu"),
        ("convert.py", directory, tmp_path / "theirs", "--to", "hf"),
    ):
        code, said = script(*line)
        assert code == 2
        message = rf"^error: {re.escape(str(directory / name))} is damaged \(.*\); copy or download it again$"
        assert re.search(message, said, re.MULTILINE), said
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        (
            "tokenizer_config.json",
            {"tokenizer_class": 5},
            "{}/tokenizer_config.json is damaged (tokenizer_class=5 is not the name of a tokenizer's class); remove ",
        ),
        (
            "tokenizer_config.json",
            {"model_max_length": "x"},
            "{}/tokenizer_config.json is damaged (model_max_length='x' is not a number); ",
        ),
        ("tokenizer_config.json", {"pad_token": 5}, "{} cannot be loaded: "),
        ("tokenizer.json", {"model": {"type": "Evil"}}, "{} cannot be loaded: "),
        ("config.json", {"vocab_size": 279}, "{} cannot be loaded: weights have other sizes than config.json says"),
        ("config.json", {"hidden_size": 32}, "{} cannot be loaded: weights have other sizes than config.json says"),
        ("config.json", {"auto_map": 5}, "{}/config.json is damaged (auto_map=5 is not an object); remove auto_map"),
        ("config.json", {"auto_map": {"AutoConfig": 5}}, "cannot be loaded: "),
        ("config.json", {"dtype": "float8"}, "float8"),
        (
            "config.json",
            {"id2label": ["a", "b"]},
            "{}/config.json is damaged (id2label=['a', 'b'] is not an object with numbers as keys and ",
        ),
        ("config.json", {"architectures": "Bert"}, "{}/config.json is damaged (architectures='Bert' is not a list of"),
        ("config.json", {"hidden_size": "wide"}, "{}/config.json: "),
        ("config.json", {"positions": "none so far"}, "{}/config.json: "),
    ],
)
def test_what_a_file_says_makes_no_traceback(model_files, script, tmp_path, file, changes, said):
    directory = tmp_path / "model"
    directory.mkdir()
    for name, content in model_files.items():
        (directory / name).write_bytes(content)
    (directory / file).write_text(json.dumps(json.loads(model_files[file]) | changes))
    (tmp_path / "pairs.tsv").write_text("source\ttarget\none\teins\n")
    for line in (
        ("translate.py", directory, "one red house"),
        ("evaluate_translation.py", directory, "--test_file", tmp_path / "pairs.tsv", "--cpu"),
        ("convert.py", directory, tmp_path / "theirs", "--to", "hf"),
    ):
        code, errors = script(*line)
        assert code == 2, errors
        (message,) = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert said.format(directory) in message
        assert len(message) < 900
        assert "Traceback" not in message


def test_where_the_translations_cannot_be_written_is_told_first(model_files, script, tmp_path):
    code, said = script("evaluate_translation.py", "nowhere", "--corpus", "en-de", "--output_file", tmp_path / "no/x")
    assert code == 2
    assert said.endswith(f"no/x cannot be written: the directory {tmp_path / 'no'} does not exist\n")
