"""By which licences packages may be installed: nothing under the GPL or AGPL, nothing unknown.

What counts is what a package's metadata says: `License-Expression`, else its classifiers, else
`License`. Libraries that a wheel brings along are looked at for FFmpeg's own word on its licence,
and for x264 and x265, which are the parts under the GPL that wheels of pictures and videos hold.
"""

import re
from pathlib import Path
from typing import Final

from ckd.contract.errors import EnvironmentUnusable, GateFailed
from ckd.export.supply.installed import Installed

#: Names that older metadata has, and what they are in SPDX's words.
NAMES: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}
#: Packages whose metadata does not say enough, with what a person found in them.
REVIEWED: Final = {
    "mpmath": ("BSD-3-Clause", "says BSD; its LICENSE has three clauses"),
    "numpy": ("BSD-3-Clause", "before 2.3 says BSD; its LICENSE.txt has three clauses"),
    "sympy": ("BSD-3-Clause", "says BSD; its LICENSE has three clauses"),
}
_RULE: Final = "nothing under the GPL or AGPL is installed"
_GPL: Final = re.compile(r"(?<!L)(?<!Lesser )(?<!Library )(A?GPL|Affero|General Public Lic)", re.I)
#: Begins names of licences that are in no list: they say nothing.
_MADE_UP: Final = "licenseref-"
_BUNDLED: Final = (
    b"license: GPL",
    b"license: nonfree",
    b"x264_encoder_open",
    b"x265_encoder_open",
)


def licence_of(package: Installed) -> str:
    """A package's licence as an SPDX expression.

    Raises:
        GateFailed: it is or holds something under the GPL or AGPL, or its licence is not known.
        EnvironmentUnusable: the package `packaging` is not installed.
    """
    what = f"{package.name} {package.version}"
    metadata = package.distribution.metadata
    expression, stated = (
        next(iter(metadata.get_all(field) or ()), "") for field in ("License-Expression", "License")
    )
    classified = [
        text.rpartition(" :: ")[2]
        for text in metadata.get_all("Classifier") or ()
        if text.startswith("License :: ") and text != "License :: OSI Approved"
    ]
    # Some put the whole text there, which may mention other licences.
    for text in (expression, *classified, stated if "\n" not in stated else ""):
        if not _has_choice(text):
            raise GateFailed(f"{what} is under {text!r}; {_RULE}")
    _check_bundled(package)
    if package.name in REVIEWED and (not expression or _MADE_UP in expression.lower()):
        return REVIEWED[package.name][0]
    names = [expression] if expression else classified or [stated]
    try:
        known = {_spdx(NAMES.get(name, name)) for name in names}
    except ValueError as error:
        said = ", ".join(names).partition("\n")[0][:80] or "nothing"
        raise GateFailed(
            f"{what}: unknown licence, its metadata says {said!r}; read its licence and, if it may "
            "be installed, name it in ckd.export.supply.licences with the reason"
        ) from error
    return " AND ".join(sorted(known))


def _spdx(expression: str) -> str:
    """An SPDX expression as it is compared; `ValueError` for others and made-up names."""
    try:
        from packaging.licenses import canonicalize_license_expression
    except ImportError as error:
        raise EnvironmentUnusable(
            "packaging from version 24.2 on, which reads licences, is not installed; in the folder "
            "of this project: `pip install '.[signed]'`"
        ) from error
    if _MADE_UP in expression.lower():
        raise ValueError("a licence that no list has")
    return canonicalize_license_expression(expression)


def _has_choice(expression: str) -> bool:
    """Whether it can be had without the GPL; of what stands in brackets nothing is chosen."""
    choices = [expression] if "(" in expression else expression.split(" OR ")
    return any(_GPL.search(choice) is None for choice in choices)


def _check_bundled(package: Installed) -> None:
    for file in package.distribution.files or ():
        if ".so" not in file.suffixes:
            continue
        content = Path(file.locate()).read_bytes()
        for sign in _BUNDLED:
            if sign in content:
                raise GateFailed(
                    f"{package.name} {package.version}: {file} is under the GPL, it has "
                    f"{sign.decode()!r}; {_RULE}"
                )
