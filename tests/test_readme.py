"""The README runs: its blocks, in order, in one empty directory, as a reader would.

Blocks marked ```python and ```bash are run; Python blocks share their variables. A block with `no-run` behind the
language (it would install, or run these tests inside themselves) is only checked for commands that exist; one with
`with-peft` is run where that library is installed, as it has to be where TRIPTYCH_REQUIRE_INTEGRATIONS is set.
"""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from console import search_path
from triptych_command import COMMANDS

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"

RUN = """
import json, subprocess, sys
namespace = {"__name__": "__main__"}
for line, language, code in json.load(open(sys.argv[1])):
    print(f"--- README.md:{line} ({language})", flush=True)
    if language == "python":
        # The empty lines make the line numbers of a traceback those of the README.
        exec(compile("\\n" * line + code, "README.md", "exec"), namespace)
    else:
        subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True)
"""


class Block(NamedTuple):
    line: int
    """Of the opening fence, from 1."""
    language: str
    flags: list[str]
    code: str


def blocks() -> list[Block]:
    text = README.read_text(encoding="utf-8")
    return [
        Block(text.count("\n", 0, match.start()) + 1, match[1], match[2].split(), match[3])
        for match in re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def commands() -> list[tuple[int, list[str]]]:
    """Line and words of every command in the bash blocks."""
    found = []
    for block in blocks():
        if block.language == "bash":
            code = re.sub(r" <<'EOF'.*?^EOF$", "", block.code, flags=re.MULTILINE | re.DOTALL)
            for part in re.split(r"\n|&&|;|\|", code.replace("\\\n", " ")):
                if words := shlex.split(part, comments=True):
                    found.append((block.line, words))
    return found


def test_every_block_is_of_a_known_kind():
    assert {block.language for block in blocks()} <= {"python", "bash", "text"}
    assert {flag for block in blocks() for flag in block.flags} <= {"no-run", "with-peft"}
    assert len([block for block in blocks() if not block.flags]) >= 5


def test_commands_exist(tmp_path: Path):
    """Targets of make, commands of triptych, scripts and programs, also in the blocks that are not run."""
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    path = search_path(tmp_path)
    for line, words in commands():
        program, *arguments = [word for word in words if not re.fullmatch(r"\w+=.*", word)]
        if program == "make":
            assert arguments[0] in targets, f"README.md:{line}: make {arguments[0]}"
        else:
            assert shutil.which(program, path=path) or program in ("cd", "source"), f"README.md:{line}: {program}"
        if program == "triptych":
            assert arguments[0] in COMMANDS, f"README.md:{line}: triptych {arguments[0]}"
        for script in (argument for argument in arguments if re.fullmatch(r"scripts/\w+\.py", argument)):
            assert (REPOSITORY / script).is_file(), f"README.md:{line}: {script}"


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def can_run(block: Block) -> bool:
    libraries = [flag.removeprefix("with-") for flag in block.flags if flag.startswith("with-")]
    present = "TRIPTYCH_REQUIRE_INTEGRATIONS" in os.environ or all(map(importlib.util.find_spec, libraries))
    return block.language != "text" and "no-run" not in block.flags and present


@pytest.mark.slow
def test_blocks_run(tmp_path: Path):
    program = [[block.line, block.language, block.code] for block in blocks() if can_run(block)]
    (tmp_path / "blocks.json").write_text(json.dumps(program))
    (tmp_path / "run").mkdir()
    environment = {
        **os.environ,
        "PATH": search_path(tmp_path / "bin"),
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
    }
    result = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "blocks.json")],
        cwd=tmp_path / "run",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-8000:]
