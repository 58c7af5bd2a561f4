"""Imports point one way, and only to what pyproject.toml declares.

    files <- configuration <- modeling <- {warm_starts, tokenization, data, conversion, inference, inspection}
                  <- {training, pipelines, hub, export} <- commands <- auto, __init__, __main__ <- scripts

Read from the source with `ast`, so imports inside functions and under TYPE_CHECKING count as well.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomllib

REPOSITORY = Path(__file__).parents[1]
PACKAGE = "triptych"
ENTRY = "triptych_command"  # the console command: a module beside the package

LEVELS = (
    {"files"},
    {"configuration"},
    {"modeling"},
    {"warm_starts", "tokenization", "data", "conversion", "inference", "inspection"},
    {"training", "pipelines", "hub", "export"},
    {"commands"},
)
ROOTS = {"__init__", "__main__", "auto"}  # what an import gives, runs, and registers: they may import everything
LEVEL = {area: level for level, areas in enumerate(LEVELS) for area in areas}

# The model runs wherever transformers runs: what trains, measures or loads data has no place in it.
BARE_AREAS = {"files", "configuration", "modeling"}
BARE_LIBRARIES = {"torch", "transformers", "huggingface_hub", "safetensors", "numpy"}

# These come with transformers, which says in which versions.
WITH_TRANSFORMERS = {"huggingface_hub", "packaging", "regex", "safetensors", "tokenizers", "tqdm", "yaml"}


def imports_of(file: Path, package: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that `file`, a module of `package`, imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def modules(source: Path) -> Iterator[tuple[Path, str, str]]:
    """File, the package it is in (dotted), and its area, of every module under `source`."""
    for file in sorted((source / PACKAGE).rglob("*.py")):
        parts = file.relative_to(source).parts[:-1]
        yield file, ".".join(parts), parts[1] if len(parts) > 1 else file.stem


def order_violations(source: Path) -> list[str]:
    """Every import under `source`/triptych that points the wrong way, as 'file:line: what is wrong'."""
    found = []
    for file, package, area in modules(source):
        is_absolute = {
            line
            for line, name in imports_of(file, "")
            if name.split(".")[0] == PACKAGE  # relative imports have no package here
        }
        for line, name in imports_of(file, package):
            root, *rest = name.split(".")
            if root != PACKAGE or area in ROOTS:
                continue
            target = rest[0] if rest else ""
            where = f"{file.relative_to(source)}:{line}"
            if line in is_absolute:
                found.append(f"{where}: imports {name}; inside the package imports are relative")
            elif target not in LEVEL:
                found.append(f"{where}: imports {name}; only scripts and users import from the package itself")
            elif target != area and LEVEL[target] >= LEVEL[area]:
                found.append(f"{where}: {area} imports {target}, which is not below it")
    return found


IMPORTED_AS = {"faiss-cpu": "faiss", "scikit-learn": "sklearn"}


def declared() -> set[str]:
    """The libraries that pyproject.toml names, except for development, under the names they are imported by."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [requirements for extra, requirements in project["optional-dependencies"].items() if extra != "dev"]
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in sum(extras, project["dependencies"])}
    return {IMPORTED_AS.get(name, name.replace("-", "_").lower()) for name in names} | WITH_TRANSFORMERS


def test_every_area_has_a_level():
    areas = {area for _, package, area in modules(REPOSITORY / "src") if package != PACKAGE}
    assert areas, "no package found"
    assert areas <= LEVEL.keys(), "give a new area its place in LEVELS"
    assert {area for _, package, area in modules(REPOSITORY / "src") if package == PACKAGE} == {*ROOTS}


def test_imports_point_one_way():
    assert not order_violations(REPOSITORY / "src")


@pytest.mark.parametrize(
    ("file", "code", "complaint"),
    [
        ("modeling/attention.py", "from ..training import loop", "modeling imports training"),
        ("modeling/attention.py", "from .. import training", "modeling imports training"),
        ("modeling/attention.py", "def f():\n    from ..data.batching import x", "modeling imports data"),
        ("data/batching.py", "from ..tokenization import x", "data imports tokenization"),
        ("training/metrics/bleu.py", "from ...pipelines.factory import x", "training imports pipelines"),
        ("training/script.py", "from ..commands.zoo import x", "training imports commands"),
        ("configuration/common.py", "from ..modeling.attention import x", "configuration imports modeling"),
        ("files/reading.py", "from ..configuration import x", "files imports configuration"),
        ("hub/card.py", "from triptych.configuration import x", "inside the package imports are relative"),
        ("hub/card.py", "import triptych", "inside the package imports are relative"),
        ("hub/card.py", "from .. import TriptychConfig", "only scripts and users import from the package itself"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, file: str, code: str, complaint: str):
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert [complaint in violation for violation in order_violations(tmp_path)] == [True]


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("training/metrics/bleu.py", "from .base import x\nfrom ..loop import y\nfrom ...data.batching import z"),
        ("modeling/attention.py", "import torch\nfrom ..configuration import x\nfrom .positions import y"),
        ("__init__.py", "from .training import x\nfrom .configuration import y"),
    ],
)
def test_a_right_import_is_not(tmp_path: Path, file: str, code: str):
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert order_violations(tmp_path) == []


def test_the_model_needs_no_more_than_transformers():
    found = [
        f"{file.relative_to(REPOSITORY)}:{line}: {name}"
        for file, package, area in modules(REPOSITORY / "src")
        if area in BARE_AREAS
        for line, name in imports_of(file, package)
        if name.split(".")[0] not in BARE_LIBRARIES | {PACKAGE} | sys.stdlib_module_names
    ]
    assert not found


# configuration/ and modeling/ travel with checkpoints as one file each, made by concatenation. So a name means one
# thing in both, their files import each other with `from .file import name`, and they need no other part of the
# package.


def core_files(source: Path) -> list[Path]:
    """The files of configuration/ and modeling/, without their tables of contents."""
    folders = [source / PACKAGE / area for area in ("configuration", "modeling")]
    return [file for folder in folders for file in sorted(folder.rglob("*.py")) if file.stem != "__init__"]


def top_level_names(file: Path) -> Iterator[str]:
    """The functions, classes and constants that `file` defines."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))
        elif not isinstance(node, (ast.Import, ast.ImportFrom, ast.Expr)):
            yield f"a statement in line {node.lineno}"


def names_that_are_not_unique(source: Path) -> list[str]:
    """Every name of a file, or of something at its top level, that configuration/ and modeling/ have twice."""
    places: dict[str, list[str]] = {}
    for file in core_files(source):
        for name in (f"{file.stem}.py", *dict.fromkeys(top_level_names(file))):
            places.setdefault(name, []).append(f"{file.parent.name}/{file.name}")
    return [f"{name}: {', '.join(files)}" for name, files in places.items() if len(files) > 1]


def other_imports_of_the_core(source: Path) -> list[str]:
    """Every import between files of configuration/ and modeling/ that is not `from .file import name`, and every
    import of another part of the package but `files`."""
    found = []
    for file in core_files(source):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            module, names = node.module or "", {alias.name for alias in node.names}
            area = file.parent.name
            if node.level == 1:
                is_right = (file.parent / f"{module}.py").is_file()
            else:
                target = source / PACKAGE / module.replace(".", "/")
                of_configuration = module.split(".")[0] == "configuration" and area == "modeling"
                is_right = node.level == 2 and (of_configuration or module == "files")
                is_right = is_right and (target.is_dir() or target.with_suffix(".py").is_file())
                is_right = is_right and not any((target / f"{name}.py").is_file() for name in names)
            renamed = [alias for alias in node.names if alias.asname not in (None, alias.name)]
            if not is_right or renamed:
                found.append(f"{area}/{file.name}:{node.lineno}")
    return found


def test_the_core_can_travel_as_two_files():
    assert len(core_files(REPOSITORY / "src")) > 20
    assert not names_that_are_not_unique(REPOSITORY / "src")
    assert not other_imports_of_the_core(REPOSITORY / "src")


@pytest.mark.parametrize(
    ("file", "code", "complaint"),
    [
        ("modeling/other.py", "NORMS = {}", "NORMS: configuration/choices.py, modeling/other.py"),
        ("modeling/other.py", "def NORMS(): ...", "NORMS: configuration/choices.py, modeling/other.py"),
        ("modeling/other.py", "x, NORMS = 1, 2", "NORMS: configuration/choices.py, modeling/other.py"),
        ("modeling/choices.py", "x = 1", "choices.py: configuration/choices.py, modeling/choices.py"),
    ],
)
def test_a_name_that_is_there_twice_is_found(tmp_path: Path, file: str, code: str, complaint: str):
    for path, text in (("configuration/choices.py", "NORMS: tuple = ()"), (file, code)):
        (tmp_path / PACKAGE / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / PACKAGE / path).write_text(text)
    assert names_that_are_not_unique(tmp_path) == [complaint]


@pytest.mark.parametrize(
    ("code", "is_right"),
    [
        ("from .layer import Layer", True),
        ("from ..configuration import Config", True),
        ("from ..configuration.choices import NORMS", True),
        ("from ..files import write", True),
        ("import torch", True),
        ("from . import layer", False),
        ("from .layer import Layer as Other", False),
        ("from .. import configuration", False),
        ("from ..configuration import choices", False),
        ("from ..data import read", False),
        ("from .elsewhere import x", False),
    ],
)
def test_an_import_that_does_not_travel_is_found(tmp_path: Path, code: str, is_right: bool):
    for path in ("configuration/__init__", "configuration/choices", "modeling/layer", "files", "data/__init__"):
        (tmp_path / PACKAGE / f"{path}.py").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / PACKAGE / f"{path}.py").write_text("")
    (tmp_path / PACKAGE / "modeling" / "stack.py").write_text(code)
    assert other_imports_of_the_core(tmp_path) == ([] if is_right else ["modeling/stack.py:1"])


def test_every_library_is_declared():
    scripts = list((REPOSITORY / "scripts").glob("*.py"))
    files = [(file, package) for file, package, _ in modules(REPOSITORY / "src")] + [(file, "") for file in scripts]
    known = declared() | {PACKAGE, ENTRY} | sys.stdlib_module_names | {file.stem for file in scripts}
    found = [
        f"{file.relative_to(REPOSITORY)}:{line}: {name}"
        for file, package in files
        for line, name in imports_of(file, package)
        if name.split(".")[0].lower() not in known
    ]
    assert not found


def test_annotations_are_not_postponed():
    """`@strict` configurations, Auto classes and HfArgumentParser read annotations at run time."""
    sources = [*(REPOSITORY / "src").rglob("*.py"), *(REPOSITORY / "scripts").glob("*.py")]
    found = [
        f"{file.relative_to(REPOSITORY)}:{line}"
        for file in sources
        for line, name in imports_of(file, "")
        if name == "__future__.annotations"
    ]
    assert not found
