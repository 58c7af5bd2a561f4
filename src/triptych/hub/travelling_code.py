"""The code that travels with a checkpoint: configurations, models and pipelines, each joined to one readable file.

With these files `AutoModel….from_pretrained(directory, trust_remote_code=True)` and `transformers.pipeline` work on a
machine that has transformers and not this package. They hold the package's own source, file by file, in the order of
the imports between them. Only imports and the docstrings of the files look different: the imports stand at the top,
once each, and the docstring of a file is a comment above its part. `tests/test_layering.py` and `tests/hub` guard what
this needs: no name is there twice, and no import has a condition.
"""

import ast
import functools
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module, resources
from pathlib import Path

from ..configuration.travel import CONFIGURATION_FILE, MODELING_FILE, PIPELINES_FILE, may_write, sealed
from ..files import write_text

PACKAGE = __package__.partition(".")[0]
LICENCE = """\
# Copyright the Triptych contributors
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the
# specific language governing permissions and limitations under the License."""
ABOUT = {
    CONFIGURATION_FILE: "The configurations of a Transformer in three panels.",
    MODELING_FILE: "A Transformer in three panels: encoder-decoder, encoder only, decoder only.",
    PIPELINES_FILE: "The tasks on texts that transformers v5 removed from its pipelines.",
}
USE = {
    CONFIGURATION_FILE: "`AutoModel.from_pretrained(directory, trust_remote_code=True)`",
    MODELING_FILE: "`AutoModel.from_pretrained(directory, trust_remote_code=True)`",
    PIPELINES_FILE: "`transformers.pipeline(task, directory, trust_remote_code=True)`",
}
# The pipelines that travel. What they import of the package travels in the same file, which so needs no other one: a
# second copy of the configurations would not be the model's own.
PIPELINES = ("pipelines.question_answering", "pipelines.text_to_text", "pipelines.translation")
BELOW = ("pipelines", "conversion", "data", "tokenization", "configuration", "files")
# What stays at home: the published sizes are of no use to a model that has its size already.
AT_HOME = {"configuration.presets"}
WIDTH = 120
END = f'''

# {"-" * (WIDTH - 2)}

register_models()
arrive()


def pipeline_class() -> type:
    """What all pipelines that travel share. transformers copies their file beside this one because of the import."""
    from .{PIPELINES_FILE.removesuffix(".py")} import TaskPipeline

    return TaskPipeline
'''


@dataclass
class Part:
    """One file of the package, ready to be joined: its text without imports, and what it imports."""

    module: str  # dotted, without the package: "modeling.attention"
    text: str = ""
    outside: set[tuple[str, str]] = field(default_factory=set)  # (library, name); the name is "" for `import library`
    inside: dict[str, set[str]] = field(default_factory=dict)  # module of this package → names


def code_files() -> dict[str, str]:
    """The name of each file of code that travels → its text."""
    return dict(_code_files())


def write_code(directory: Path) -> None:
    """Writes the files of code that travel into `directory`, each one complete or not at all; see `may_write`."""
    if may_write(directory, {name: text.encode() for name, text in code_files().items()}):
        for name, text in code_files().items():
            write_text(directory / name, text)


@functools.cache
def _code_files() -> dict[str, str]:
    configuration = _in_order(_modules_in("configuration"), "configuration", "files")
    elsewhere = {part.module: CONFIGURATION_FILE for part in configuration}
    reached = _in_order(_modules_in("modeling"), "modeling", "files")
    modeling = [part for part in reached if part.module not in elsewhere]
    return {
        CONFIGURATION_FILE: sealed(_joined(CONFIGURATION_FILE, configuration, {})),
        MODELING_FILE: sealed(_joined(MODELING_FILE, modeling, elsewhere) + END),
        PIPELINES_FILE: sealed(_joined(PIPELINES_FILE, _in_order([*PIPELINES], *BELOW), {})),
    }


def _modules_in(area: str) -> list[str]:
    files = resources.files(PACKAGE).joinpath(area).iterdir()
    names = sorted(file.name for file in files if file.name.endswith(".py") and file.name != "__init__.py")
    return [module for name in names if (module := f"{area}.{name.removesuffix('.py')}") not in AT_HOME]


def _in_order(modules: list[str], *areas: str) -> list[Part]:
    """The parts of these modules, and of what they import from these areas, so that imported parts come first."""
    parts: dict[str, Part] = {}

    def add(module: str) -> None:
        if module not in parts:
            part = _read(module)
            for imported in sorted(part.inside):
                if imported.partition(".")[0] in areas:
                    add(imported)
            parts[module] = part

    for module in modules:
        add(module)
    return list(parts.values())


@functools.cache
def _parsed(module: str) -> tuple[str, ast.Module]:
    """The source of a module, or of a folder's table of contents, and its syntax tree."""
    source = _source(module)
    return source, ast.parse(source)


def _source(module: str) -> str:
    file = resources.files(PACKAGE).joinpath(*module.split("."))
    if file.is_dir():
        return file.joinpath("__init__.py").read_text(encoding="utf-8")
    return file.parent.joinpath(f"{file.name}.py").read_text(encoding="utf-8")  # type: ignore[attr-defined]


def _defining(module: str, name: str) -> str:
    """The module that defines what can be imported from `module`, which may be a folder's table of contents."""
    for node in _parsed(module)[1].body:
        if isinstance(node, ast.ImportFrom) and node.level and name in {alias.name for alias in node.names}:
            return _defining(_absolute(node, module if "." not in module else module.partition(".")[0]), name)
    return module


def _absolute(node: ast.ImportFrom, folder: str) -> str:
    """The dotted name, without the package, of the module that a relative import in `folder` names."""
    base = folder if node.level == 1 else ""
    return ".".join(name for name in (base, node.module) if name)


def _read(module: str) -> Part:
    """Takes the docstring and the imports out of a module's source."""
    source, tree = _parsed(module)
    part = Part(module)
    shown: list[str | None] = [*source.splitlines()]  # None: the line is left out

    def replace(node: ast.stmt, text: str | None = None) -> None:
        last = node.end_lineno or node.lineno
        shown[node.lineno - 1 : last] = [text] + [None] * (last - node.lineno)

    docstring = tree.body[0] if tree.body and ast.get_docstring(tree) is not None else None
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            imported = _absolute(node, module.partition(".")[0])
            if imported in AT_HOME:
                reason = f"this does not travel with a checkpoint: pip install {PACKAGE}"
                replace(node, " " * node.col_offset + f'raise ImportError("{reason}")')
                continue
            for alias in node.names:
                part.inside.setdefault(_defining(imported, alias.name), set()).add(alias.name)
            replace(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)) and node in tree.body:
            library = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                name = alias.name if alias.asname is None else f"{alias.name} as {alias.asname}"
                part.outside.add((library, name) if library else (name, ""))
            replace(node)
    if docstring is not None:
        replace(docstring)
    body = "\n".join(line for line in shown if line is not None)
    part.text = _heading(module, ast.get_docstring(tree) or "") + "\n\n\n" + body.strip("\n")
    return part


def _heading(module: str, docstring: str) -> str:
    name = f"{module.replace('.', '/')}.py"
    rule = f"# {'-' * (WIDTH - 3 - len(name))} {name}"
    return "\n".join([rule, *(f"# {line}".rstrip() for line in docstring.splitlines())])


def _joined(name: str, parts: list[Part], elsewhere: dict[str, str]) -> str:
    """The text of one file.

    Args:
        elsewhere: the modules that are in another file → its name.
    """
    version = import_module(PACKAGE).__version__
    head = f'''{LICENCE}
"""{ABOUT[name]}

The package {PACKAGE} {version} wrote this file beside a model. With it, the model works without the package:
{USE[name]}. It is the package's own source, so change it there.
"""'''
    imports = "\n".join([*_library_imports(parts), *_file_imports(parts, elsewhere)])
    return "\n\n\n".join(["\n\n".join([head, imports]), *(part.text for part in parts)]) + "\n"


def _library_imports(parts: list[Part]) -> Iterator[str]:
    names: dict[str, set[str]] = {}
    for part in parts:
        for library, name in part.outside:
            names.setdefault(library, set()).add(name)
    whole = sorted(library for library, imported in names.items() if "" in imported)
    yield from (f"import {library}" for library in whole)
    for library in sorted(names):
        yield from _from(library, names[library] - {""})


def _file_imports(parts: list[Part], elsewhere: dict[str, str]) -> Iterator[str]:
    names: dict[str, set[str]] = {}
    for part in parts:
        for module, imported in part.inside.items():
            if module in elsewhere:
                names.setdefault(f".{elsewhere[module].removesuffix('.py')}", set()).update(imported)
    for file in sorted(names):
        yield ""
        yield from _from(file, names[file])


def _from(module: str, names: set[str]) -> Iterator[str]:
    if not names:
        return
    line = f"from {module} import {', '.join(sorted(names))}"
    if len(line) <= WIDTH:
        yield line
    else:
        yield f"from {module} import ("
        yield from textwrap.wrap(
            ", ".join(sorted(names)) + ",", WIDTH, initial_indent="    ", subsequent_indent="    "
        )
        yield ")"
