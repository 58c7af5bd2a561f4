"""How transformers' tests are obtained. Nothing is downloaded here: the archives are made, or pip has no registry."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from . import sdist


def make_archive(folder: Path, *names: str) -> Path:
    archive = folder / "transformers-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as files:
        for name in names:
            content = f"# {name}".encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            files.addfile(member, io.BytesIO(content))
    return archive


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIPTYCH_CONFORMANCE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A stand-in for the download; what was asked for. `meanwhile` happens between download and unpacking."""

    def offer(*names: str, meanwhile: Callable[[], object] = lambda: None) -> list[str]:
        asked: list[str] = []

        def download(version: str, folder: Path) -> Path:
            asked.append(version)
            meanwhile()
            return make_archive(folder, *names)

        monkeypatch.setattr(sdist, "download", download)
        return asked

    return offer


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_only_the_tests_are_kept_and_only_once(cache, registry):
    names = ("tests/test_a.py", "tests/models/test_b.py", "tests/data.json", "src/tests/c.py", "../tests/test_d.py")
    asked = registry(*(f"transformers-1.0/{name}" for name in names))
    for _ in range(2):
        folder = sdist.tests_of("1.0")
    assert asked == ["1.0"]
    assert everything(cache) == ["transformers-1.0/transformers_tests/test_a.py"]
    assert (folder / "transformers_tests" / "test_a.py").read_text() == "# transformers-1.0/tests/test_a.py"


def test_an_interrupted_unpacking_leaves_nothing(cache, registry, monkeypatch):
    registry("transformers-1.0/tests/test_a.py", "transformers-1.0/tests/test_b.py")
    copy = sdist.shutil.copyfileobj

    def interrupted(source, target):
        if target.name.endswith("test_b.py"):
            raise KeyboardInterrupt
        copy(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(sdist.shutil, "copyfileobj", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sdist.tests_of("1.0")
    assert everything(cache) == []
    sdist.tests_of("1.0")
    assert len(everything(cache)) == 2


def test_two_processes_at_once(cache, registry):
    faster = cache / "transformers-1.0" / "transformers_tests"

    def other() -> None:
        faster.mkdir(parents=True)
        (faster / "test_a.py").write_text("# the other's")

    registry("transformers-1.0/tests/test_a.py", meanwhile=other)
    assert sdist.tests_of("1.0") == faster.parent
    assert (faster / "test_a.py").read_text() == "# the other's"
    assert everything(cache) == ["transformers-1.0/transformers_tests/test_a.py"]


def test_the_cache_is_the_users_unless_another_is_named(cache, monkeypatch):
    assert sdist.cache_folder() == cache
    monkeypatch.delenv("TRIPTYCH_CONFORMANCE_CACHE")
    monkeypatch.setattr(sdist.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert sdist.cache_folder() == Path("/somewhere/triptych/conformance")


@pytest.mark.slow
def test_without_a_registry_pips_reason_is_told(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(sdist.SourceUnavailable, match=r"source of transformers 5\.23\.0: ERROR: No matching"):
        sdist.tests_of("5.23.0")
    assert everything(cache) == []


def test_without_the_source_tests_are_skipped_but_fail_in_ci(monkeypatch):
    monkeypatch.setattr(sdist, "attempt", lambda: sdist.SourceUnavailable("no registry"))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no registry"):
        sdist.require_transformers_tests()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(sdist.SourceUnavailable, match="no registry"):
        sdist.require_transformers_tests()


def test_another_layout_is_named(cache, registry, monkeypatch):
    registry(*(f"transformers-1.0/tests/{name}.py" for name in sdist.MODULES if name != "test_fsdp_mixin"))
    monkeypatch.setattr(sdist, "attempt", lambda: sdist.tests_of("1.0"))
    monkeypatch.setattr(sdist.transformers, "__version__", "1.0")
    with pytest.raises(ImportError, match=r"transformers 1\.0 .* lacks tests/test_fsdp_mixin\.py"):
        sdist.require_transformers_tests()
