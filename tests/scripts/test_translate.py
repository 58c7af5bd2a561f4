"""scripts/translate.py: what it reads line by line, and what it writes."""

import io
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import triptych
from triptych import TriptychConfig, TriptychForConditionalGeneration
from triptych.commands.translate import translations
from triptych.pipelines.splitting import Piece
from triptych.tokenization import save_tokenizers, special_token_config, train_tokenizer

from . import running

SCRIPT = running.SCRIPTS / "translate.py"
LONG = "one two three. " * 6 + "red house"  # three pieces for a model of 12 positions


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator of a few words, untrained."""
    path = tmp_path_factory.mktemp("translator")
    tokenizer = train_tokenizer([*running.WORDS, *running.WORDS.values(), "."], "word", 40)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    config = TriptychConfig(
        **sizes,
        max_position_embeddings=12,
        positions="learned",
        initializer="normal",
        initializer_range=1.0,
        **special_token_config(tokenizer),
    )
    model = TriptychForConditionalGeneration(config)
    silent = [i for i in range(len(tokenizer)) if not tokenizer.decode([i], skip_special_tokens=True).strip()]
    model.generation_config.update(max_new_tokens=5, min_new_tokens=5, num_beams=2, num_return_sequences=2)
    model.generation_config.update(suppress_tokens=silent)
    model.save_pretrained(path)
    save_tokenizers(path, tokenizer)
    return path


@pytest.fixture(scope="module")
def translate(directory: Path) -> Callable[[str], str]:
    pipe = triptych.pipeline("translation", directory, num_return_sequences=1)
    return lambda text: pipe(text)[0]["translation_text"]


@pytest.fixture
def script(directory: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> Callable[..., tuple[int, str, str]]:
    """Runs the script in this process, in a locale without UTF-8: (exit status, standard output, standard error)."""

    def run(
        *arguments: str, read: bytes = b"", name: str = SCRIPT.name, directory: Path = directory
    ) -> tuple[int, str, str]:
        written = io.BytesIO()
        monkeypatch.setattr(sys, "argv", [name, str(directory), *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(read), "ascii"))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
        code = 0
        try:
            runpy.run_path(str(running.SCRIPTS / name), run_name="__main__")
        except SystemExit as exit:
            code = exit.code
        sys.stdout.flush()
        return code, written.getvalue().decode(), capfd.readouterr().err

    return run


@pytest.mark.parametrize("batch_size", ["1", "2", "16"])
def test_each_line_has_its_line(script, translate, batch_size):
    lines = ["one two", "", "red house", "  ", "tree", "", "three green"]
    code, out, errors = script("--batch_size", batch_size, read="\n".join(lines).encode())
    assert (code, errors) == (0, "")
    assert out == "".join(f"{translate(line)}\n" for line in lines)
    assert all(len(translate(line).split()) == 5 for line in lines if line.strip())


@pytest.mark.parametrize(
    ("read", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"one", ["one"]),
        (b"one\n", ["one"]),
        (b"one\r\n\r\ntwo\r\n", ["one", "", "two"]),
        (b"one\rtwo\nthree", ["one\rtwo", "three"]),
        (
            "one\u2028two\n\x0b\nthree\x0cred\x1ctree\x85one\n".encode(),
            ["one\u2028two", "", "three\x0cred\x1ctree\x85one"],
        ),
        ("\ufeffone\n\ufeffone\n".encode(), ["one", "\ufeffone"]),
        ("größer 🙂\n".encode(), ["größer 🙂"]),
        (b"one\0two\n", ["one\0two"]),
    ],
)
def test_only_line_feeds_end_a_line(script, translate, read, lines):
    code, out, _ = script(read=read)
    assert code == 0
    assert out.split("\n")[:-1] == [translate(line) for line in lines]
    assert len(out.splitlines()) == len(lines)


def test_a_line_too_long_is_split_and_told(script, translate):
    code, out, errors = script(read=f"one\n{LONG}\n\n{LONG}\ntwo\n".encode())
    assert code == 0
    pieces = ["one two three. one two three."] * 2 + ["one two three. one two three. red house"]
    lines = out.split("\n")
    assert [lines[0], lines[2], lines[4]] == [translate("one"), "", translate("two")]
    assert lines[1] == lines[3] == " ".join(map(translate, pieces))
    warning = "warning: standard input, line {} is longer than the model's inputs: translated in 3 pieces"
    assert errors.splitlines() == [warning.format(2), warning.format(4)]


def test_a_line_that_is_not_utf8_ends_the_job_behind_the_lines_before(script, translate):
    code, out, errors = script(read=b"one\n\ntwo \xff\nthree\n")
    assert code == 2
    assert out == f"{translate('one')}\n\n"
    assert errors == "error: standard input, line 3, byte 5: 0xff is not UTF-8; convert the text to UTF-8\n"


def test_sentences_of_the_command_line(script, translate):
    code, out, errors = script("one two", "", LONG, "--num_beams", "1")
    assert code == 0
    first, second, third = out.splitlines()
    assert first.startswith("one two -> ")
    assert second == " -> "
    assert third.startswith(f"{LONG} -> ")
    assert errors == "warning: sentence 3 is longer than the model's inputs: translated in 3 pieces\n"
    assert script("one two")[1] == f"one two -> {translate('one two')}\n"


class Echo:
    """In the place of a pipeline: what it is asked, and how far it has read."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size, self.read = batch_size, 0

    def pieces(self, text: str) -> list[Piece]:
        self.read += 1
        return [Piece(part, " ") for part in text.split("|")]

    def __call__(self, texts: Iterator[str]) -> Iterator[list[dict[str, str]]]:
        batch: list[str] = []
        for text in texts:
            batch.append(text)
            if len(batch) == self.batch_size:
                yield from ([{"translation_text": text}] for text in batch)
                batch = []
        yield from ([{"translation_text": text}] for text in batch)


def test_a_translation_is_one_line_and_reading_is_not_ahead_of_it():
    echo = Echo(batch_size=2)
    texts = ["a\nb", "c\r\nd\u2028e", "f|g\n|h", "", "i\x85j k\xa0l"]
    outputs = translations(echo, iter(texts), "line")
    assert next(outputs) == "a b"
    assert echo.read == 2
    assert list(outputs) == ["c d e", "f g h", "", "i j k\xa0l"]


def test_answers_at_once_and_ends_silently_when_its_reader_goes(directory, translate):
    command = [sys.executable, str(SCRIPT), str(directory), "--batch_size", "1"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=running.ENVIRONMENT, **pipes) as process:
        for line in ("one two", "", "red house"):
            process.stdin.write(f"{line}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().decode() == f"{translate(line)}\n"
        process.stdout.close()  # as `| head -3` does
        process.stdin.write(b"one\n" * 3)
        process.stdin.close()
        errors = process.stderr.read().decode()
        assert process.wait(60) == 141
    assert not [word for word in ("Traceback", "error:", "Broken", "Exception") if word in errors]


@pytest.mark.parametrize(
    ("name", "options"), [("translate.py", []), ("evaluate_translation.py", ["--corpus", "en-de"])]
)
def test_never_asks_standard_input_whether_code_may_run(directory, script, tmp_path, monkeypatch, name, options):
    """transformers would, and would take the first line of the text, here `y`, for the answer."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    evil = tmp_path / "evil"
    shutil.copytree(directory, evil)
    (evil / "evil.py").write_text(f"open({str(tmp_path / 'code-ran')!r}, 'w')\nclass Evil: ...\n")
    (evil / "config.json").write_text('{"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}')
    code, _, errors = script(*options, read=b"y\ny\n", name=name, directory=evil)
    assert code == 2
    assert "trust_remote_code=True" in errors.splitlines()[-1]
    assert not (tmp_path / "code-ran").exists()
