"""Programs in a process where the package is not installed, but the libraries are that this process has.

They are given as a text, or are the server of transformers.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

# Without `-S`, Python would read the .pth file by which the package is installed.
START = "import sys; sys.path += {places!r}; assert __import__('importlib.util').util.find_spec('triptych') is None\n"


def place_of(library: str) -> str:
    """The directory from which a library is imported."""
    spec = find_spec(library)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parents[1])


def alone(program: str, libraries: Sequence[str] = ()) -> tuple[list[str], dict[str, str]]:
    """The command that runs a program without the package, and its environment.

    Args:
        libraries: those that may be installed in another place than torch.
    """
    places = list(dict.fromkeys(place_of(library) for library in ("torch", *libraries)))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return [sys.executable, "-S", "-c", START.format(places=places) + dedent(program)], environment


def run_alone(program: str, libraries: Sequence[str] = ()) -> str:
    """What a program prints that runs without the package, in the working directory; see `alone`."""
    command, environment = alone(program, libraries)
    environment["HF_MODULES_CACHE"] = "modules"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@contextmanager
def serving(arguments: Sequence[str], folder: Path) -> Iterator[str]:
    """Runs `transformers serve` without the package, at a free port; gives its address when it answers.

    Args:
        arguments: those behind `transformers serve`, without the port.
        folder: where its log goes, and what it keeps of the code of models.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = ["transformers", "serve", *arguments, "--port", port]
    program = f"from transformers.cli.transformers import main; sys.argv[:] = {words!r}; main()"
    command, environment = alone(program, ["fastapi", "uvicorn", "openai"])
    environment["HF_MODULES_CACHE"] = str(folder / "modules")
    log, address = folder / "server.log", f"http://localhost:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        end = time.monotonic() + 600  # a busy machine takes minutes to import what it needs
        while not _is_up(address):
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < end, log.read_text()[-4000:]
            time.sleep(0.2)
        yield address
    finally:
        process.kill()
        process.wait()


def _is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
