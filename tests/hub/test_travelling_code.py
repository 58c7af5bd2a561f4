"""The code that travels with a checkpoint is the package's own, and runs where the package is not installed."""

import ast
import json
import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.dynamic_module_utils import check_imports, get_relative_imports

import triptych
from tiny import END, make_model, words
from triptych.auto import AUTO_CLASSES
from triptych.configuration.travel import TRAVELLING_TASKS, copy_code, is_unchanged, sealed
from triptych.hub import code_files, write_code
from triptych.hub.travelling_code import BELOW
from triptych.pipelines.tasks import TASKS

SOURCE = Path(triptych.__file__).parent
MODELS = [(auto, cls) for auto, classes in AUTO_CLASSES.items() for cls in classes]
FIRST = {"configuration_triptych.py": "configuration", "modeling_triptych.py": "modeling"}


def definitions(text: str) -> dict[str, str]:
    """The functions, classes and constants at the top level: name → their meaning, without layout and comments."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = ast.dump(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            found[ast.unparse(node).partition("=")[0].strip()] = ast.dump(node)
    return found


@pytest.mark.parametrize(("name", "area"), FIRST.items())
def test_the_files_are_what_the_package_says(name, area):
    files = [path for path in (SOURCE / area).glob("*.py") if path.name not in ("__init__.py", "presets.py")]
    package = {key: value for path in files for key, value in definitions(path.read_text()).items()}
    written = definitions(code_files()[name])
    reads_files = {key for path in (SOURCE / "files").glob("*.py") for key in definitions(path.read_text())}
    assert written.keys() - package.keys() <= reads_files | {"pipeline_class"}  # which brings the pipelines along
    different = {key for key, value in package.items() if written[key] != value}
    assert different == ({"TriptychBaseConfig"} if area == "configuration" else set())  # from_preset, see below


def test_the_pipelines_are_what_the_package_says():
    package: dict[str, list[str]] = {}
    for area in BELOW:
        for path in (SOURCE / area).glob("*.py"):
            for name, meaning in definitions(path.read_text()).items():
                package.setdefault(name, []).append(meaning)
    written = definitions(code_files()["pipelines_triptych.py"])
    assert not [name for name, meaning in written.items() if meaning not in package[name]]
    rows = {task: TASKS[task] for task in TRAVELLING_TASKS}
    tasks = {task: (row.pipeline_class.__name__, row.auto_class.__name__) for task, row in rows.items()}
    assert tasks == TRAVELLING_TASKS
    assert {name for name, _ in tasks.values()} <= written.keys()


@pytest.mark.parametrize("name", code_files())
def test_a_name_means_one_thing_in_a_file(name):
    """Otherwise a part could get what another part imports or defines by the same name."""
    body = ast.parse(code_files()[name]).body
    imports = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    imported = [alias.asname or alias.name for node in imports for alias in node.names]
    defined = [node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    targets = [node.targets[0] for node in body if isinstance(node, ast.Assign)]
    defined += [ast.unparse(target) for target in targets]
    assert len(imported) > 20 < len(defined)
    assert len({*imported, *defined}) == len(imported) + len(defined)


def test_the_presets_stay_at_home():
    code = code_files()["configuration_triptych.py"]
    assert "def load_preset" not in code
    assert code.count("pip install triptych") == code.count("raise ImportError") == 1


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("configuration_triptych.py", set()),
        ("modeling_triptych.py", {"configuration_triptych", "pipelines_triptych"}),
        ("pipelines_triptych.py", set()),
    ],
)
def test_transformers_finds_what_a_file_imports(name, imported, tmp_path):
    """transformers looks for imports with regular expressions, which see comments and docstrings, too."""
    (tmp_path / name).write_text(code_files()[name])
    assert {*get_relative_imports(tmp_path / name)} == imported == {*check_imports(tmp_path / name)}
    # A line of a docstring that became a comment is longer by "# ".
    assert max(len(line) for line in code_files()[name].splitlines()) <= 122


def run_without_package(job: dict, directory: Path) -> None:
    (directory / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-S", str(Path(__file__).with_name("without_package.py"))]
    environment = {**os.environ, "HF_MODULES_CACHE": str(directory / "modules"), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [*command, sysconfig.get_path("purelib"), str(directory / "job.json")],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def saved_model(auto_name: str, cls: type, directory: Path) -> dict:
    """Saves a tiny model with inputs and the outputs that it gives here; what the other process has to know."""
    kind = cls.__name__
    model = make_model(kind)
    inputs = {"input_ids": words(2, 3, 7) if kind.endswith("MultipleChoice") else words(2, 7)}
    inputs["input_ids"][..., -1] = END  # some heads read the state of the end token
    generation: dict = {"max_new_tokens": 6}
    if kind in ("TriptychModel", "TriptychForConditionalGeneration"):
        inputs["decoder_input_ids"] = words(2, 5)
        generation = {"gnmt_length_penalty": 0.6, "max_length_beyond_source": 3}  # the options of the paper
    model.save_pretrained(directory)
    save_file(inputs, directory / "inputs.safetensors")
    with torch.no_grad():
        expected = {k: v for k, v in model(**inputs).items() if isinstance(v, torch.Tensor)}
    if model.can_generate():
        options = {"num_beams": 3, "do_sample": False, **generation}
        expected["generated"] = model.generate(input_ids=inputs["input_ids"], **options)
    save_file({k: v.contiguous() for k, v in expected.items()}, directory / "expected.safetensors")
    return {
        "directory": str(directory),
        "auto_class": auto_name,
        "class": kind,
        "config_class": type(model.config).__name__,
        "generates": model.can_generate(),
        "generation": generation,
    }


def check(models: list, directory: Path) -> None:
    entries = [saved_model(auto, cls, directory / f"{auto}-{cls.__name__}") for auto, cls in models]
    run_without_package({"models": entries}, directory)
    for entry in entries:
        place = Path(entry["directory"])
        expected = load_file(place / "expected.safetensors")
        for output in ("outputs", "outputs_again"):
            computed = load_file(place / f"{output}.safetensors")
            assert computed.keys() == expected.keys()
            for name, value in expected.items():
                torch.testing.assert_close(computed[name], value, rtol=0, atol=0)


def test_a_translator_works_without_the_package(tmp_path):
    check([pair for pair in MODELS if pair[0] == "AutoModelForSeq2SeqLM"], tmp_path)


@pytest.mark.slow
def test_every_model_works_without_the_package(tmp_path):
    check(MODELS, tmp_path)


@pytest.mark.parametrize("trust", [True, False, None])
def test_where_the_package_is_imported_the_code_is_not_run(trust, tmp_path):
    make_model("decoder").save_pretrained(tmp_path)
    for name in code_files():
        (tmp_path / name).write_text(sealed("raise SystemExit('this code was run')\n"))
    options = {} if trust is None else {"trust_remote_code": trust}
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, **options)
    assert type(model) is triptych.TriptychDecoderForCausalLM
    model.save_pretrained(tmp_path)
    assert {name: (tmp_path / name).read_text() for name in code_files()} == code_files()


@pytest.mark.parametrize("write", [write_code, copy_code])
@pytest.mark.parametrize("name", FIRST)
def test_code_that_somebody_has_changed_is_not_replaced(write, name, tmp_path, caplog, monkeypatch):
    files = {name: text.encode() for name, text in code_files().items()}
    monkeypatch.setattr("triptych.configuration.travel.read_code", lambda: files)
    for replaced in (sealed("an older version\n"), sealed("an older version\n").replace("\n", "\r\n")):
        (tmp_path / name).write_text(replaced, newline="")
        write(tmp_path)
        assert {name: (tmp_path / name).read_bytes() for name in files} == files
    assert not caplog.text
    for kept in (
        code_files()[name] + "# mine\n",
        code_files()[name].replace("import torch", "import  torch"),
        "",
        "x",
    ):
        assert not is_unchanged(kept.encode())
        (tmp_path / name).write_text(kept)
        others = {file: (tmp_path / file).write_text(sealed("older\n")) for file in files if file != name}
        caplog.clear()
        write(tmp_path)
        assert (tmp_path / name).read_text() == kept
        assert all((tmp_path / file).read_text() == sealed("older\n") for file in others)
        assert f"{tmp_path / name} is not as this package wrote it" in caplog.text


@pytest.mark.parametrize("save", ["model", "config"])
def test_the_code_can_be_left_out(save, tmp_path):
    model = make_model("encoder")
    saved = model if save == "model" else model.config
    saved.save_pretrained(tmp_path / "without", code=False)
    assert "auto_map" not in json.loads((tmp_path / "without" / "config.json").read_text())
    assert not list((tmp_path / "without").glob("*.py"))
    saved.save_pretrained(tmp_path / "with")
    assert {path.name for path in (tmp_path / "with").glob("*.py")} == {*code_files()}
    auto_map = json.loads((tmp_path / "with" / "config.json").read_text())["auto_map"]
    assert auto_map["AutoModelForMaskedLM"] == "modeling_triptych.TriptychEncoderForMaskedLM"
    assert not hasattr(model.config, "auto_map") or model.config.auto_map is None


def test_the_default_can_be_changed(tmp_path, monkeypatch):
    model = make_model("encoder")
    monkeypatch.setattr(triptych.TriptychEncoderConfig, "saves_code", False)
    model.save_pretrained(tmp_path / "without")
    assert not list((tmp_path / "without").glob("*.py"))
    model.save_pretrained(tmp_path / "with", code=True)
    assert {path.name for path in (tmp_path / "with").glob("*.py")} == {*code_files()}


def test_the_code_of_somebody_else_keeps_its_place(tmp_path):
    config = triptych.TriptychDecoderConfig.from_preset("tiny-decoder")
    config.auto_map = {"AutoModelForCausalLM": "mine.MyModel", "AutoModel": "someone/repo--modeling_triptych.Old"}
    config.save_pretrained(tmp_path)
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    assert auto_map["AutoModelForCausalLM"] == "mine.MyModel"
    assert auto_map["AutoModel"] == "modeling_triptych.TriptychDecoderModel"
    assert config.auto_map["AutoModelForCausalLM"] == "mine.MyModel"


def test_threads_may_save_one_model(tmp_path):
    model = make_model("encoder")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: model.config.save_pretrained(tmp_path, code=number % 2 == 0), range(32)))
        list(pool.map(lambda _: model.config.save_pretrained(tmp_path), range(32)))
    assert {name: (tmp_path / name).read_text() for name in code_files()} == code_files()
    assert "auto_map" in json.loads((tmp_path / "config.json").read_text())
    assert not hasattr(model.config, "auto_map")
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", *code_files()}
