"""The version is looked up under the distribution's own name, and its absence breaks nothing."""

from importlib.metadata import PackageNotFoundError

import pytest

from ckd.contract import version as version_module
from ckd.contract.version import DISTRIBUTION, ckd_version


def test_the_version_is_that_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_module, "version", {DISTRIBUTION: "1.2.3"}.__getitem__)
    assert ckd_version() == "1.2.3"


def test_sources_that_are_not_installed_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(version_module, "version", not_found)
    assert ckd_version() == "unknown"
