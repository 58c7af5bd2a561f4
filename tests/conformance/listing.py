"""Every test of transformers' runs, or is listed with the reason why it cannot; and the list cannot rot."""

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
    """Runs a test; why it was skipped, as a whole or in all its parts, or None if it ran.

    A failed assertion or any other error is raised.
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
    """The test, which is skipped for the listed reason, and fails if it passes after all."""

    @functools.wraps(method)
    def run(self: AccountedFor, *args: Any) -> None:
        try:
            passed = skip_reason(self, method, args) is None
        except Exception:
            passed = False
        if passed:
            raise AssertionError(f"passes, but is listed in tests/conformance/inapplicable.py: {reason}")
        self.skipTest(reason)

    return run


def account_for(
    inapplicable: Listing, optional: Mapping[str, str], slow: tuple[str, ...]
) -> Callable[[type[AccountedFor]], type[AccountedFor]]:
    """Class decorator: what runs, what is listed as inapplicable, what needs a package, what is slow.

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
        for name in names:
            method = getattr(cls, name)
            listed = matching(inapplicable, name)
            if len(listed) > 1:
                raise LookupError(f"{cls.__name__}.{name} is listed twice: {', '.join(listed)}")
            if listed:
                wrapped = must_not_run(method, inapplicable[listed[0]])
            else:
                wrapped = must_run(method, next((optional[pattern] for pattern in matching(optional, name)), None))
            wrapped.__dict__.pop("__unittest_skip__", None)  # else unittest would not ask it
            setattr(cls, name, pytest.mark.slow(wrapped) if matching(slow, name) else wrapped)
        return cls

    return decorate
