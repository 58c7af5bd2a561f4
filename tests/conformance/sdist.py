"""transformers' own common tests: fetched with pip, kept in a cache folder, importable as `transformers_tests`.

They come with the source distribution only, so that of the installed version is downloaded when the tests first run.
The folder tests/ of it lands in TRIPTYCH_CONFORMANCE_CACHE, by default a folder in the user's cache. What it imports
but the source distribution lacks is in stand_ins/, the other half of the same namespace package.
"""

import functools
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
import transformers

PACKAGE = "transformers_tests"  # in the distribution its name is `tests`, as that of ours
STAND_INS = Path(__file__).with_name("stand_ins")
MODULES = (
    "test_configuration_common",
    "test_fsdp_mixin",
    "test_memory_cleanup_mixin",
    "test_modeling_common",
    "test_pipeline_mixin",
    "test_tensor_parallel_mixin",
    "test_training_mixin",
)


class SourceUnavailable(Exception):
    """The source distribution cannot be had: no registry, no pip."""


def cache_folder() -> Path:
    """Where downloaded tests are kept, one folder for each version."""
    if given := os.environ.get("TRIPTYCH_CONFORMANCE_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        user = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        user = Path.home() / "Library" / "Caches"
    else:
        user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user) / "triptych" / "conformance"


def download(version: str, folder: Path) -> Path:
    """The archive of a version, from wherever pip is configured to look. pip reads its metadata but builds nothing.

    Raises:
        SourceUnavailable: pip does not get it.
    """
    options = ["--no-deps", "--no-build-isolation", "--no-binary", "transformers", "--retries", "1", "--timeout", "15"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), f"transformers=={version}"]
    run = subprocess.run(command, capture_output=True, text=True)
    archive = next(folder.glob("*.tar.gz"), None)
    if run.returncode or archive is None:
        reason = (run.stderr.strip() or run.stdout.strip()).splitlines()[-1:]
        raise SourceUnavailable(f"pip cannot download the source of transformers {version}: {''.join(reason)}")
    return archive


def unpack_tests(archive: Path, folder: Path) -> None:
    """The files NAME/tests/*.py of the archive, into `folder`."""
    folder.mkdir(parents=True)
    with tarfile.open(archive) as files:
        for member in files:
            parts = Path(member.name).parts
            if member.isfile() and len(parts) == 3 and parts[1] == "tests" and parts[2].endswith(".py"):
                with files.extractfile(member) as source, open(folder / parts[2], "wb") as target:  # type: ignore[union-attr]
                    shutil.copyfileobj(source, target)


def tests_of(version: str) -> Path:
    """The folder that has the package `transformers_tests` of a version; complete from the moment that it exists.

    Raises:
        SourceUnavailable: it is not in the cache, and cannot be downloaded.
    """
    kept = cache_folder() / f"transformers-{version}"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as temporary:
            fresh = Path(temporary) / "fresh"
            unpack_tests(download(version, Path(temporary)), fresh / PACKAGE)
            try:
                fresh.rename(kept)
            except OSError:
                if not kept.is_dir():  # else another process was faster, with the same files
                    raise
    return kept


def check_layout(folder: Path, version: str) -> None:
    """Raises ImportError where a version of transformers keeps its common tests elsewhere."""
    if missing := [name for name in MODULES if not (folder / PACKAGE / f"{name}.py").is_file()]:
        raise ImportError(
            f"transformers {version} has its common tests in another layout than tests/conformance knows: its source "
            f"distribution lacks {', '.join(f'tests/{name}.py' for name in missing)}. Install the version that "
            "constraints.txt names, or teach tests/conformance the new layout"
        )


@functools.cache
def attempt() -> Path | SourceUnavailable:
    """One try for each run of the tests."""
    try:
        return tests_of(transformers.__version__)
    except SourceUnavailable as error:
        return error


def require_transformers_tests() -> None:
    """Makes `transformers_tests` importable. Without a registry the calling module is skipped, but not in CI."""
    found = attempt()
    if isinstance(found, SourceUnavailable):
        if os.environ.get("CI"):
            raise found
        pytest.skip(str(found), allow_module_level=True)
    check_layout(found, transformers.__version__)
    for folder in map(str, (STAND_INS, found)):
        if folder not in sys.path:
            sys.path.insert(0, folder)  # processes that the tests start get it, too
