"""The code that a configuration saves beside itself, so that a model works where this package is not installed.

The last line of each file of code is a checksum of the others. By it, a later save knows a file that somebody has
changed: it leaves the code of this directory as it is, with a warning.
"""

import functools
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from .messages import logger

CONFIGURATION_FILE, MODELING_FILE = "configuration_triptych.py", "modeling_triptych.py"
PIPELINES_FILE = "pipelines_triptych.py"
CODE_FILES = (CONFIGURATION_FILE, MODELING_FILE, PIPELINES_FILE)
PIPELINES_MODULE = PIPELINES_FILE.removesuffix(".py")
# The modules from which our pipelines come: of the code that travels, and `triptych.pipelines.package_pipelines`.
OUR_PIPELINES = frozenset({PIPELINES_MODULE, "package_pipelines"})

# The tasks of `transformers.pipeline` that travel: the class of each, and the Auto class that finds its models.
TRAVELLING_TASKS = {
    "translation": ("TranslationPipeline", "AutoModelForSeq2SeqLM"),
    "summarization": ("SummarizationPipeline", "AutoModelForSeq2SeqLM"),
    "text2text-generation": ("Text2TextGenerationPipeline", "AutoModelForSeq2SeqLM"),
    "question-answering": ("QuestionAnsweringPipeline", "AutoModelForQuestionAnswering"),
}

_wanted: ContextVar[bool | None] = ContextVar("wanted", default=None)


@contextmanager
def saving_code(wanted: bool | None) -> Iterator[None]:
    """Surrounds a call that saves, and says whether it writes the code; None: what was said before."""
    token = _wanted.set(_wanted.get() if wanted is None else wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def is_code_wanted(otherwise: bool) -> bool:
    """Whether the calls around this one ask for the code; `otherwise` where they say nothing."""
    wanted = _wanted.get()
    return otherwise if wanted is None else wanted


@functools.cache
def read_code() -> dict[str, bytes]:
    """The files of code that this function itself came with: name → content. They are read once."""
    return {name: Path(__file__).with_name(name).read_bytes() for name in CODE_FILES}


def sealed(text: str) -> str:
    """The text of a file of code, with the checksum of its lines as its last line."""
    return f"{text}# sha256 of the lines above: {hashlib.sha256(text.encode()).hexdigest()}\n"


def is_unchanged(content: bytes) -> bool:
    """Whether a file of code is as it was written, by any version of the package."""
    lines, _, last = content.replace(b"\r\n", b"\n").removesuffix(b"\n").rpartition(b"\n")
    found = re.fullmatch(rb"# sha256 of the lines above: ([0-9a-f]{64})", last)
    return found is not None and hashlib.sha256(lines + b"\n").hexdigest().encode() == found[1]


def may_write(directory: Path, files: dict[str, bytes]) -> bool:
    """Whether these files of code may be written into `directory`; if not, a warning says why.

    A file that somebody has changed is not replaced. The files belong together, so the others are not, either.
    """
    for name, content in files.items():
        file = directory / name
        if file.is_file() and (found := file.read_bytes()) != content and not is_unchanged(found):
            logger.warning(
                f"{file} is not as this package wrote it, so the code in {directory} stays as it is; delete "
                f"{' and '.join(files)} there before you save, if you want the code of this version"
            )
            return False
    return True


def copy_code(directory: Path) -> None:
    """Writes the files of code that this function itself came with into `directory`, each in one step.

    This is how code that travelled passes itself on. The package makes the files from its source instead, see
    `triptych.hub`.
    """
    for name, content in read_code().items() if may_write(directory, read_code()) else ():
        temporary = directory / f"{name}.{secrets.token_hex(4)}.tmp"
        temporary.write_bytes(content)
        os.replace(temporary, directory / name)


def code_map(config_class: str, models: dict[str, str]) -> dict[str, str]:
    """What `auto_map` in config.json says: the name of an Auto class → where its class is.

    All classes are taken from one file. transformers makes a module of each file that it is told of, together with the
    files that this one imports; with two files, there would be two copies of each configuration class.
    """
    module = MODELING_FILE.removesuffix(".py")
    return {name: f"{module}.{found}" for name, found in {"AutoConfig": config_class, **models}.items()}


def others(auto_map: dict[str, Any] | None) -> dict[str, Any]:
    """The entries of `auto_map` that name a file of another author."""
    ours = f"{MODELING_FILE.removesuffix('.py')}."
    return {
        name: place
        for name, place in (auto_map or {}).items()
        if not (isinstance(place, str) and place.rpartition("--")[2].startswith(ours))
    }


def pipeline_map(
    module: str | None, architectures: list[str] | None, auto_classes: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """What `custom_pipelines` in config.json says: task → its class, and the Auto classes that load its model.

    Args:
        module: where the classes are, as transformers names a module; None: nowhere.
        architectures: the names of the classes of the model.
        auto_classes: the name of an Auto class → the name of the model that it finds.
    """
    found = architectures if isinstance(architectures, list) and module is not None else []
    return {
        task: {"impl": f"{module}.{pipeline_class}", "pt": [auto_class], "type": "text"}
        for task, (pipeline_class, auto_class) in TRAVELLING_TASKS.items()
        if auto_classes.get(auto_class) in found
    }


def pipelines_of_others(custom_pipelines: dict[str, dict[str, Any]] | None) -> dict[str, dict[str, Any]]:
    """The entries of `custom_pipelines` that name a file of another author."""
    return {
        task: {**entry}
        for task, entry in (custom_pipelines or {}).items()
        if str(entry.get("impl")).rpartition("--")[2].partition(".")[0] not in OUR_PIPELINES
    }
