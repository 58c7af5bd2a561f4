"""The list of inapplicable tests cannot rot, and no test of transformers' is skipped unnoticed."""

import unittest

import pytest

from .listing import AccountedFor, account_for


def outcome(body, inapplicable=None, optional=None):
    """What becomes of a test: "passed", or "skipped" or "failed" and why; where it is listed, what its check says."""
    cls = type("Case", (AccountedFor,), {"test_it": body})
    account_for(inapplicable or {}, optional or {}, ())(cls)
    result = unittest.TestResult()
    (name,) = unittest.defaultTestLoader.getTestCaseNames(cls)
    assert name == ("test_none_of_1_tests_applies" if inapplicable else "test_it")
    cls(name).run(result)
    for kind, found in (("skipped", result.skipped), ("failed", result.failures + result.errors)):
        if found:
            return kind, found[0][1]
    return "passed"


def passes(self):
    pass


def fails(self):
    raise ValueError("wrong")


def skips_itself(self):
    self.skipTest("no accelerator")


@unittest.skip("no accelerator")
def is_skipped(self):
    raise ValueError("called")


def skips_all_parts(self):
    for _ in range(2):
        with self.subTest():
            self.skipTest("no accelerator")


def skips_a_part(self):
    with self.subTest():
        self.skipTest("no accelerator")
    with self.subTest():
        pass


def fails_in_a_part(self):
    with self.subTest():
        raise ValueError("wrong")


SKIPPING = [skips_itself, is_skipped, skips_all_parts]


@pytest.mark.parametrize("body", [passes, skips_a_part])
def test_what_runs_counts_and_must_not_be_listed(body):
    assert outcome(body) == "passed"
    kind, why = outcome(body, {"test_*": "cannot"})
    assert kind == "failed"
    assert "it is listed in tests/conformance/inapplicable.py (cannot)" in why


@pytest.mark.parametrize("body", SKIPPING)
def test_what_skips_itself_must_be_listed(body):
    kind, why = outcome(body)
    assert kind == "failed"
    assert "skips itself (no accelerator)" in why
    assert outcome(body, {"test_it": "cannot"}) == "passed"


@pytest.mark.parametrize("body", [fails, fails_in_a_part])
def test_what_fails_is_a_bug_unless_it_is_listed(body):
    kind, why = outcome(body)
    assert kind == "failed"
    assert "ValueError: wrong" in why
    assert outcome(body, {"test_it": "cannot"}) == "passed"


@pytest.mark.parametrize("body", SKIPPING)
def test_an_optional_package_may_be_absent_unless_all_are_required(body, monkeypatch):
    monkeypatch.delenv("TRIPTYCH_REQUIRE_INTEGRATIONS", raising=False)
    assert outcome(body, optional={"test_it": "no_such_package"}) == ("skipped", "no accelerator")
    assert outcome(body, optional={"test_it": "pytest"})[0] == "failed"
    monkeypatch.setenv("TRIPTYCH_REQUIRE_INTEGRATIONS", "1")
    assert outcome(body, optional={"test_it": "no_such_package"})[0] == "failed"


@pytest.mark.parametrize("where", range(3))
def test_an_entry_without_a_test_is_refused(where):
    lists = [{}, {}, ()]
    lists[where] = {"test_gone*": "?"} if where < 2 else ("test_gone*",)
    with pytest.raises(LookupError, match=r"Case has no test 'test_gone\*'"):
        account_for(*lists)(type("Case", (AccountedFor,), {"test_it": passes}))


def test_a_test_has_one_reason():
    with pytest.raises(LookupError, match=r"Case\.test_it is listed twice: test_\*, test_it"):
        outcome(passes, {"test_*": "?", "test_it": "?"})


def test_slow_tests_are_marked():
    tests = {"test_it": passes, "test_long": passes, "test_inapplicable": fails, "test_long_inapplicable": fails}
    cls = type("Case", (AccountedFor,), tests)
    account_for({"test_*inapplicable": "cannot"}, {}, ("test_l*",))(cls)
    names = unittest.defaultTestLoader.getTestCaseNames(cls)
    fast, slow = ["test_it", "test_none_of_1_tests_applies"], ["test_long", "test_none_of_1_slow_tests_applies"]
    assert sorted(names) == sorted(fast + slow)
    assert all([mark.name for mark in getattr(cls, name).pytestmark] == ["slow"] for name in slow)
    assert not any(hasattr(getattr(cls, name), "pytestmark") for name in fast)


def test_a_listed_test_runs_as_it_would_alone():
    """Each has a case of its own, which is set up and cleaned; all that pass are named."""
    calls = []

    class Case(AccountedFor):
        def setUp(self):
            calls.append("set up")
            self.addCleanup(calls.append, "clean")

        def test_one(self):
            calls.append("one")

        def test_two(self):
            calls.append("two")

        def test_three(self):
            raise ValueError("wrong")

    account_for({"test_*": "cannot"}, {}, ())(Case)
    result = unittest.TestResult()
    Case("test_none_of_3_tests_applies").run(result)
    ((_, why),) = result.failures
    assert "test_one: " in why
    assert "test_two: " in why
    assert "test_three" not in why
    assert calls.count("set up") == calls.count("clean") == 4  # the check is a test, too
