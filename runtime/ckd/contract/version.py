"""The version of `ckd`, which findings, bundles and reports name."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

#: Name of the package for `pip`; on the public package index ``ckd`` is another project.
DISTRIBUTION: Final = "ckd-cascades"


def ckd_version() -> str:
    """The installed version; "unknown" if the sources run without being installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
