"""What is installed: the package, its data and its notices, without a source tree around it."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the repository."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    copied = ["pyproject.toml", "README.md", "LICENSE", "NOTICE", "src"]
    subprocess.run(["cp", "-r", *(str(REPOSITORY / name) for name in copied), str(source)], check=True)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(output)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, capture_output=True)
    return next(output.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_is_complete(wheel: Path):
    source = REPOSITORY / "src"
    expected = {
        str(file.relative_to(source))
        for file in (source / "triptych").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    packed = {name for name in names if name.startswith("triptych/")}
    assert packed == expected
    assert {"triptych/commands/convert.py", "triptych/__main__.py"} <= packed
    assert "triptych_command.py" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)


@pytest.mark.slow
def test_the_wheel_runs_without_the_repository(wheel: Path, tmp_path: Path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = """
import json, sys
sys.path.insert(0, sys.argv[1])
import triptych
from triptych.data import load_corpus
print(json.dumps([triptych.__file__, triptych.preset_names(), len(load_corpus("en-de")["test"])]))
"""
    command = [sys.executable, "-c", program, str(tmp_path / "site")]
    output = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    file, presets, size = json.loads(output)
    assert Path(file).is_relative_to(tmp_path)
    assert "transformer-base" in presets
    assert size > 100


@pytest.mark.slow
def test_the_installed_command_works_without_the_repository(wheel: Path, tmp_path: Path):
    """The console command and `python -m triptych` do their work, and every command can be imported."""
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    options = ["--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, cwd=work, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    console = str(site / "bin" / "triptych")
    assert "zoo" in run(console, "--help")
    (work / "a.txt").write_text("the house is red\n" * 3)
    words = ["--train_file", "a.txt", "--model", "character", "--vocab_size", "50", "--output_dir", "tokenizer"]
    assert "saved in" in run(console, "train-tokenizer", *words)
    assert (work / "tokenizer" / "tokenizer.json").is_file()
    program = """
import runpy, sys
from importlib import import_module
from triptych_command import COMMANDS, module_of
for name in COMMANDS:
    assert callable(import_module(module_of(name)).main)
print(sys.modules["triptych"].__file__)
sys.argv = ["triptych", "zoo", "tiny"]
runpy.run_module("triptych", run_name="__main__")  # as python -m, and the launchers
"""
    file, _, tiny = run(sys.executable, "-c", program).splitlines()
    assert Path(file).is_relative_to(site)
    assert tiny.startswith("tiny ")


def test_the_two_versions_agree():
    """In pyproject.toml for those who install, in the package for those who ask."""
    import triptych

    assert f'version = "{triptych.__version__}"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
