"""What some tests need besides Python packages: programs, other Pythons, a package registry."""

import os
import shutil
from typing import NoReturn

import pytest


def service_missing(reason: str) -> NoReturn:
    """Skips the test; fails it where CI is set, since every service is installed there.

    Only for services that a package manager can install. Tests that need a GPU, shared data or
    another user than root skip everywhere.
    """
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"CI is set, so this must not be missing: {reason}", pytrace=False)
    pytest.skip(reason)


def needs_program(*names: str) -> str:
    """The path of the first of these programs that is installed; see `service_missing`."""
    for name in names:
        if path := shutil.which(name):
            return path
    service_missing(f"needs {' or '.join(names)}")
