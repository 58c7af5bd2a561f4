"""For all tests, and the processes that they start."""

import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

# The models are tiny: more threads only wait for each other, many times longer on a busy machine. Set before
# anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test needs the Hub. Offline, a test that asks for it fails at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# What the libraries keep between runs (caches of data, code of models) stays out of the user's folders. The processes
# of pytest-xdist inherit the variable, so that the one which they come from removes the folder at the end.
if "HF_HOME" not in os.environ:
    hf_home = tempfile.TemporaryDirectory(prefix="triptych-tests-", ignore_cleanup_errors=True)
    os.environ["HF_HOME"] = hf_home.name

import pytest
from filelock import FileLock

REQUIRED = "TRIPTYCH_REQUIRE_INTEGRATIONS"  # set where the extra is installed: then no test may skip itself


def is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it is absent
        return False


def check(module: str) -> None:
    if not is_installed(module) and not os.environ.get(REQUIRED):
        pytest.skip(f"needs {module}: pip install -e .[integrations]")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test with the mark `integrations("module")` needs that module. Every test begins with one thread."""
    if "torch" in sys.modules:  # the test before may have asked for more threads, as a training run does
        sys.modules["torch"].set_num_threads(1)
    for mark in item.iter_markers("integrations"):
        for module in mark.args:
            check(module)


@pytest.fixture(scope="session")
def needs() -> Callable[[str], None]:
    """Skips a test that lacks a module of the extra `integrations`, unless the extra is said to be installed."""

    return check


@pytest.fixture(scope="session")
def library(needs: Callable[[str], None]) -> Callable[[str], ModuleType]:
    """Imports a module of the extra `integrations`; see `needs`."""

    def load(module: str) -> ModuleType:
        needs(module)
        return importlib.import_module(module)

    return load


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`once(name, fill)`: a folder that `fill` has filled, once for all processes of pytest-xdist.

    A fixture of session or module scope is made anew in each of these processes. Use this for what takes long: the
    first process fills the folder, and the others wait for it. Where it fails, the next one tries again.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each process has a folder of its own in this one

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, filled = base / name, base / f"{name}.filled"
        with FileLock(f"{folder}.lock"):
            if not filled.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                filled.touch()
        return folder

    return make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that needs the extra gets the mark `integrations`."""
    for item in items:
        if "needs" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.integrations)
