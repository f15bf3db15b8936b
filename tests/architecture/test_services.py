"""Tests whose service is missing skip on a developer's machine and fail in CI."""

import pytest
from services import needs_program


def test_a_program_that_is_installed_is_given_by_its_path() -> None:
    assert needs_program("no-such-program", "sh").endswith("/sh")


def test_a_missing_program_skips_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs this or no-such-program"):
        needs_program("this", "no-such-program")


def test_a_missing_program_fails_a_test_where_ci_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="must not be missing: needs no-such-program"):
        needs_program("no-such-program")
