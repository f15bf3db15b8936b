"""The version of `ckd`, which findings, bundles and reports name."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

#: Name of the package for `pip`; on the public package index ``ckd`` is another project.
DISTRIBUTION: Final = "ckd-cascades"


def ckd_version() -> str:
    """The installed version; "unknown" if the sources run without being installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def built_from() -> str | None:
    """The commit that the installed wheel was built from, with "-changed" if files were changed.

    None for sources that run where they lie: they may change at any time.
    """
    file = Path(__file__).with_name("commit.txt")  # written by hatch_build.py, into wheels only
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None
