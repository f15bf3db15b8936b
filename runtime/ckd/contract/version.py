"""The version of `ckd`, which findings, bundles and reports name.

It stands here, from where the build takes it: to ask the installed package would load a mail
parser, a fortieth of the time of `ckd-run image` on one photograph.
"""

from pathlib import Path
from typing import Final

#: Name of the package for `pip`; on the public package index ``ckd`` is another project.
DISTRIBUTION: Final = "ckd-cascades"


#: Raised with a release.
VERSION = "0.1.0"


def ckd_version() -> str:
    """The version of these sources."""
    return VERSION


def built_from() -> str | None:
    """The commit that the installed wheel was built from, with "-changed" if files were changed.

    None for sources that run where they lie: they may change at any time.
    """
    file = Path(__file__).with_name("commit.txt")  # written by hatch_build.py, into wheels only
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None
