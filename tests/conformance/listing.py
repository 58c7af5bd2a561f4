"""Every test of transformers runs, or is listed with the reason why it cannot apply; and the list cannot rot.

A listed test is not collected: it is no result of its own. In its place each class gets one test that runs all that
are listed for it, and fails when one of them passes.
"""

import functools
import os
import unittest
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import Any

import pytest

REQUIRED = "TRIPTYCH_REQUIRE_INTEGRATIONS"  # as in tests/conftest.py
Listing = Mapping[str, str]  # pattern of test names → why these cannot apply


class AccountedFor(unittest.TestCase):
    """A test case that notices when parts of a test are skipped. The first failing part ends the test."""

    parts_run = parts_skipped = 0
    reason = ""

    @contextmanager
    def subTest(self, msg: Any = None, **params: Any) -> Iterator[None]:
        try:
            yield
        except unittest.SkipTest as skip:
            self.parts_skipped, self.reason = self.parts_skipped + 1, str(skip)
        else:
            self.parts_run += 1


def skip_reason(case: AccountedFor, method: Callable[..., Any], args: tuple[Any, ...]) -> str | None:
    """Runs a test, and says why it was skipped, as a whole or in all its parts; None if it ran.

    Raises:
        Exception: whatever the test raises, a failed assertion among them.
    """
    if getattr(method, "__unittest_skip__", False):  # its decorator has decided when it was imported
        return str(method.__unittest_skip_why__)  # type: ignore[attr-defined]
    try:
        method(case, *args)
    except (unittest.SkipTest, pytest.skip.Exception) as skip:
        return str(skip)
    return case.reason if case.parts_skipped and not case.parts_run else None


def must_run(method: Callable[..., Any], package: str | None) -> Callable[..., None]:
    """The test, which fails if it skips itself; it may where an optional package is absent and not required."""

    @functools.wraps(method)
    def run(self: AccountedFor, *args: Any) -> None:
        reason = skip_reason(self, method, args)
        if reason is None:
            return
        if package is not None and find_spec(package) is None and not os.environ.get(REQUIRED):
            self.skipTest(reason)
        self.fail(f"skips itself ({reason}): make it run, or list it in tests/conformance/inapplicable.py")

    return run


def must_not_run(method: Callable[..., Any], reason: str) -> Callable[..., None]:
    """The test, which fails if it passes, and is skipped for the listed reason if it fails or skips itself."""

    @functools.wraps(method)
    def run(self: AccountedFor, *args: Any) -> None:
        try:
            passed = skip_reason(self, method, args) is None
        except Exception:
            passed = False
        if passed:
            self.fail(f"it is listed in tests/conformance/inapplicable.py ({reason})")
        self.skipTest(reason)

    return run


def none_passes(cls: type[AccountedFor], reasons: Listing) -> Callable[[AccountedFor], None]:
    """A test that runs those tests of the class which `reasons` names, and fails with the names of all that pass."""
    listed = {name: ready(must_not_run(getattr(cls, name), reason)) for name, reason in reasons.items()}
    listed_only = type(cls.__name__, (cls,), listed)  # with the fixtures of the class, and no test accounted for yet

    def run(self: AccountedFor) -> None:
        result = unittest.TestResult()
        unittest.TestSuite(map(listed_only, listed)).run(result)
        passing = [f"{case.id().rpartition('.')[2]}: {text}" for case, text in result.failures + result.errors]
        assert not passing, "\n".join(["tests that pass must not be listed:", *passing])
        assert len(result.skipped) == len(listed)

    return run


def ready(method: Callable[..., None]) -> Callable[..., None]:
    """The wrapped test without the mark that skips the test which it wraps; else unittest would not call it."""
    method.__dict__.pop("__unittest_skip__", None)
    return method


def account_for(
    inapplicable: Listing, optional: Mapping[str, str], slow: tuple[str, ...]
) -> Callable[[type[AccountedFor]], type[AccountedFor]]:
    """Class decorator: each test of the class must run, unless it is listed.

    Args:
        inapplicable: tests that cannot apply to the class, and why. They leave the class; one test, or two where some
            are slow, checks that none of them passes. Its name counts them: `test_none_of_99_tests_applies`.
        optional: tests that may skip themselves where a package is absent, and its name.
        slow: tests that get the mark `slow`.

    Raises:
        LookupError: a pattern that fits no test of the class, or a test that two patterns fit.
    """

    def matching(patterns: Any, name: str) -> list[str]:
        return [pattern for pattern in patterns if fnmatchcase(name, pattern)]

    def decorate(cls: type[AccountedFor]) -> type[AccountedFor]:
        names = [name for name in dir(cls) if name.startswith("test_") and callable(getattr(cls, name))]
        for pattern in (*inapplicable, *optional, *slow):
            if not any(fnmatchcase(name, pattern) for name in names):
                raise LookupError(f"{cls.__name__} has no test {pattern!r}, but tests/conformance lists it")
        tests: dict[str, Callable[..., None] | None] = {}
        listed: dict[bool, dict[str, str]] = {False: {}, True: {}}  # is it slow? → name → reason
        for name in names:
            patterns, is_slow = matching(inapplicable, name), bool(matching(slow, name))
            if len(patterns) > 1:
                raise LookupError(f"{cls.__name__}.{name} is listed twice: {', '.join(patterns)}")
            if patterns:
                listed[is_slow][name] = inapplicable[patterns[0]]
                tests[name] = None  # neither unittest nor pytest collects it
                continue
            package = next((optional[pattern] for pattern in matching(optional, name)), None)
            test = ready(must_run(getattr(cls, name), package))
            tests[name] = pytest.mark.slow(test) if is_slow else test
        for is_slow, reasons in listed.items():
            if reasons:
                test = none_passes(cls, reasons)
                name = f"test_none_of_{len(reasons)}_{'slow_' if is_slow else ''}tests_applies"
                tests[name] = pytest.mark.slow(test) if is_slow else test
        for name, accounted in tests.items():
            setattr(cls, name, accounted)
        return cls

    return decorate
