"""Nothing under the GPL or AGPL, and nothing of which nobody knows, is let through."""

import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from tests.export.supply.environments import install

from ckd.contract.errors import EnvironmentUnusable, GateFailed
from ckd.export.supply.installed import Installed
from ckd.export.supply.licences import REVIEWED, licence_of

CLASSIFIER = "Classifier: License :: OSI Approved :: "


def licence(
    folder: Path, *metadata: str, name: str = "thing", content: bytes = b"", file: str = ""
) -> str:
    info = install(folder, name, *metadata, content=content, file=file)
    return licence_of(Installed(name, "1.0", "", Distribution.at(info)))


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (["License-Expression: MIT"], "MIT"),
        (["License-Expression: mit AND bsd-3-clause"], "MIT AND BSD-3-Clause"),
        (["License-Expression: GPL-2.0-only OR MIT"], "GPL-2.0-only OR MIT"),
        (["License-Expression: LGPL-2.1-or-later"], "LGPL-2.1-or-later"),
        ([CLASSIFIER + "MIT License"], "MIT"),
        ([CLASSIFIER + "GNU Lesser General Public License v3 (LGPLv3)"], "LGPL-3.0-only"),
        ([CLASSIFIER + "ISC License (ISCL)", "License: ISC License"], "ISC"),
        (
            [CLASSIFIER + "MIT License", CLASSIFIER + "Apache Software License"],
            "Apache-2.0 AND MIT",
        ),
        (["License: 3-Clause BSD License"], "BSD-3-Clause"),
        (["License: Apache-2.0", "Classifier: License :: OSI Approved"], "Apache-2.0"),
    ],
)
def test_what_metadata_says_is_understood(
    tmp_path: Path, metadata: list[str], expected: str
) -> None:
    assert licence(tmp_path / "env", *metadata) == expected


@pytest.mark.parametrize(
    "metadata",
    [
        ["License-Expression: GPL-3.0-or-later"],
        ["License-Expression: MIT AND AGPL-3.0-only"],
        ["License-Expression: (GPL-2.0-only OR MIT) AND GPL-3.0-only"],
        [CLASSIFIER + "GNU General Public License v3 (GPLv3)"],
        [CLASSIFIER + "GNU Affero General Public License v3"],
        ["License: GNU GPL"],
        # One that contradicts itself.
        ["License-Expression: MIT", CLASSIFIER + "GNU General Public License (GPL)"],
        ["License: GPLv2+", CLASSIFIER + "MIT License"],
    ],
)
def test_the_gpl_is_refused(tmp_path: Path, metadata: list[str]) -> None:
    with pytest.raises(GateFailed, match=r"^thing 1\.0 is under .*nothing under the GPL or AGPL"):
        licence(tmp_path / "env", *metadata)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ([], "nothing"),
        (["License: UNKNOWN"], "UNKNOWN"),
        (["License: see the file"], "see the file"),
        # Every name may stand there, and says nothing.
        (["License-Expression: LicenseRef-Anything"], "LicenseRef-Anything"),
        (["License-Expression: MIT AND licenseref-own"], "MIT AND licenseref-own"),
        (["License: LicenseRef-Anything"], "LicenseRef-Anything"),
        ([CLASSIFIER + "MIT License", "Classifier: License :: Other/Proprietary License"], ".*"),
        ([CLASSIFIER + "BSD License", "License: BSD"], "BSD License"),
        (["License: Copyright of somebody", "        All rights reserved."], "Copyright of some.*"),
    ],
)
def test_what_nobody_knows_is_an_error_that_names_it(
    tmp_path: Path, metadata: list[str], said: str
) -> None:
    with pytest.raises(GateFailed, match=rf"^thing 1\.0: unknown licence, .* says '{said}'; read"):
        licence(tmp_path / "env", *metadata)


def test_what_a_person_reviewed_counts_where_metadata_says_too_little(tmp_path: Path) -> None:
    name, (expected, reason) = next(iter(REVIEWED.items()))
    assert reason
    assert licence(tmp_path / "a", "License: BSD", name=name) == expected
    assert licence(tmp_path / "b", "License-Expression: MIT", name=name) == "MIT"
    assert licence(tmp_path / "d", "License-Expression: LicenseRef-Own", name=name) == expected
    with pytest.raises(GateFailed, match="nothing under the GPL"):
        licence(tmp_path / "c", "License: GPL", name=name)


@pytest.mark.parametrize(
    "content", [b"\0libavcodec license: GPL version 2 or later\0", b"\0x265_encoder_open_215\0"]
)
def test_what_a_wheel_brings_along_counts(tmp_path: Path, content: bytes) -> None:
    known, file = "License-Expression: BSD-3-Clause", "libpart-0123.so.4.5"
    with pytest.raises(GateFailed, match=r"thing 1\.0: libpart-0123\.so\.4\.5 is under the GPL"):
        licence(tmp_path / "a", known, content=content, file=file)
    lgpl = b"\0libavcodec license: LGPL version 2.1 or later\0"
    assert licence(tmp_path / "b", known, content=lgpl, file=file) == "BSD-3-Clause"


def test_without_the_package_that_reads_licences_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "packaging.licenses", None)
    with pytest.raises(EnvironmentUnusable, match=r"^packaging from version 24\.2 .* `pip install"):
        licence(tmp_path / "env", "License-Expression: MIT")
