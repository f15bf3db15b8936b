"""The version stands in one place, and is that of the installed package."""

import importlib.metadata
import subprocess
import sys

from ckd.contract.version import DISTRIBUTION, ckd_version


def test_the_version_is_that_of_the_installed_package() -> None:
    assert ckd_version() == importlib.metadata.version(DISTRIBUTION)


def test_to_know_the_version_no_mail_parser_is_loaded() -> None:
    code = "import sys, ckd.contract.version; sys.exit('importlib.metadata' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
