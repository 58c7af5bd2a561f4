"""The console command `triptych`: its list, what it hands on, and what it refuses."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

import triptych
from console import search_path
from triptych_command import COMMANDS, WIDTH, help_file, main

REPOSITORY = Path(__file__).parents[1]
MODULES = REPOSITORY / "src" / "triptych" / "commands"


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a command line in this process: (exit status, standard output, standard error)."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["triptych", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


def test_the_table_is_complete():
    """Each command has its module, its script, and a docstring that `--help` can show."""
    modules = {path.stem for path in MODULES.glob("*.py")} - {"__init__"}
    scripts = {path.stem for path in (REPOSITORY / "scripts").glob("*.py")} - {"build_corpus", "demo", "write_help"}
    assert modules == scripts == {name.replace("-", "_") for name in COMMANDS}
    for name in modules:
        module = ast.parse((MODULES / f"{name}.py").read_text(encoding="utf-8"))
        assert f"triptych {name.replace('_', '-')}" in (ast.get_docstring(module) or "")
        [function] = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "main"]
        assert [argument.arg for argument in function.args.args] == ["args"]
        caller = (REPOSITORY / "scripts" / f"{name}.py").read_text(encoding="utf-8")
        assert f"from triptych.commands.{name} import main\n" in caller
        assert len(ast.parse(caller).body) == 4  # the docstring, two imports and the call


def test_the_list_comes_without_torch(tmp_path):
    program = """
import json, sys
import triptych_command
triptych_command.main(["--help"])
print(json.dumps([name for name in ("torch", "transformers", "triptych") if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    *shown, loaded = done.stdout.splitlines()
    assert json.loads(loaded) == []
    assert re.findall(r"^  ([a-z-]+) {2,}\S", "\n".join(shown), re.MULTILINE) == [*COMMANDS]
    assert all(len(line) <= WIDTH for line in shown)


def test_the_help_of_a_command_comes_without_torch(tmp_path):
    program = """
import json, sys
import triptych_command
for name in triptych_command.COMMANDS:
    triptych_command.main([name, "--help"])
print(json.dumps([name for name in ("torch", "transformers", "triptych") if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    *shown, loaded = done.stdout.splitlines()
    assert json.loads(loaded) == []
    assert [line.split()[2] for line in shown if line.startswith("usage: ")] == [*COMMANDS]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="argparse writes two names of an option in another way")
@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_page_says_what_the_options_are(name):
    spec = importlib.util.spec_from_file_location("write_help", REPOSITORY / "scripts" / "write_help.py")
    write_help = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(write_help)
    shown = help_file(name).read_text(encoding="utf-8")
    assert shown == write_help.page(name), "run: python scripts/write_help.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_an_option_needs_no_other_one(name):
    """Whoever looks an option up reads it alone, so no text begins or ends with a word that stands for another one."""
    page = help_file(name).read_text(encoding="utf-8")
    texts = re.findall(r"^  --\S.*?(?=^  -|^\S|\Z)", page, re.MULTILINE | re.DOTALL)
    for text in texts:
        said = " ".join(text.split())
        assert not re.search(r"\blikewise\b|[A-Z}] Its? |\bthe former\b.*\bthe latter\b", said), said


def test_help_goes_to_standard_output(command):
    code, output, errors = command("--help")
    assert (code, errors) == (0, "")
    assert output.startswith("usage: triptych COMMAND")
    assert command("-h") == (code, output, errors)


def test_the_version_is_that_of_the_package(command):
    assert command("--version") == (0, f"triptych {triptych.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["train-translatoin", "--train_file", "a.tsv"],
            "no command train-translatoin; did you mean train-translation?",
        ),
        (["train_translation"], "no command train_translation; did you mean train-translation?"),
        (["tokenizer"], "no command tokenizer; did you mean train-tokenizer?"),
        (["xyz"], f"no command xyz; choose one of {', '.join(COMMANDS)}"),
        (["--num_beams"], "there is no command --num_beams; "),
    ],
)
def test_an_unknown_command_is_refused(command, words, said):
    code, output, errors = command(*words)
    assert (code, output) == (2, "")
    assert errors.startswith("error: there is no command")
    assert said in errors
    assert len(errors.splitlines()) == 1


def test_without_a_command_the_list_is_an_error(command):
    code, output, errors = command()
    assert (code, output) == (2, "")
    assert errors == command("--help")[1]


def test_the_command_gets_the_rest_of_the_line(command):
    code, output, errors = command("zoo", "tiny", "tiny-encoder")
    assert (code, errors) == (0, "")
    assert [line.split()[0] for line in output.splitlines()] == ["name", "tiny", "tiny-encoder"]


def test_the_usage_names_the_command(command):
    code, output, _ = command("zoo", "--help")
    assert code == 0
    assert output.startswith("usage: triptych zoo ")


def test_the_error_of_a_command_is_one_line(command):
    code, output, errors = command("zoo", "tyni")
    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1


def test_it_is_installed():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"] == {"triptych": "triptych_command:main"}
    assert "triptych_command" in project["tool"]["setuptools"]["py-modules"]


def blocks(language: str) -> list[str]:
    """The blocks of docs/commands.md in a language, without those that are not to be run."""
    page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_page_shows_the_list(command):
    assert blocks("text") == [command("--help")[1]]


@pytest.mark.slow
def test_the_blocks_of_the_page_run(tmp_path):
    [block] = blocks("bash")
    environment = {**os.environ, "PATH": search_path(tmp_path / "bin"), "HF_HUB_OFFLINE": "1"}
    (tmp_path / "work").mkdir()
    line = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(line, cwd=tmp_path / "work", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results, translations = ((tmp_path / "work" / name).read_text() for name in ("results.txt", "translations.txt"))
    assert "2 updates in " in results
    assert "test BLEU" in results
    assert len(translations.splitlines()) == 1
    assert "8 train, 8 test pairs" in (tmp_path / "work" / "progress.txt").read_text()
    assert (tmp_path / "work" / "translator" / "README.md").is_file()
