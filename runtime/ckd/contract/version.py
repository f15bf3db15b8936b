"""Which `ckd` this is, for results, bundles and reports."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

#: As `pip` knows it; on the public package index ``ckd`` is another project.
DISTRIBUTION: Final = "ckd-cascades"


def ckd_version() -> str:
    """The installed version; "unknown" where the sources run without having been installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
