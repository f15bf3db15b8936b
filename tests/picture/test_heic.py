"""HEIC, the photographs of phones, with and without the extra that reads them.

The files show `photographs/plain.png`. x265 wrote them once; what reads them cannot write.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from ckd.contract.errors import InputError
from ckd.picture.decode import read_picture, read_rgb

ASSETS = Path(__file__).parents[1] / "assets"


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    expected = r"plain\.heic: is a HEIC photograph, which needs the extra heic: pip install 'ckd"
    with pytest.raises(InputError, match=expected):
        read_rgb(ASSETS / "heic" / "plain.heic")


@pytest.mark.parametrize(("name", "turns"), [("plain", 0), ("turned", 1), ("display_p3", 0)])
def test_a_photograph_is_read_upright(name: str, turns: int) -> None:
    """Of `display_p3` the numbers are the same and the colours are not, by some steps."""
    pytest.importorskip("pi_heif")
    seen = read_picture(ASSETS / "heic" / f"{name}.heic")
    plain_HWC = read_rgb(ASSETS / "photographs" / "plain.png")
    difference_HWC = np.rot90(seen.image_HWC, turns).astype(int) - plain_HWC
    assert seen.notes == ()
    mean = np.abs(difference_HWC).mean()
    assert (2.5 < mean < 6) if name == "display_p3" else mean < 1.5


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    content = (ASSETS / "heic" / "plain.heic").read_bytes()
    for share in (0.02, 0.3, 0.9):
        (tmp_path / "image.heic").write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match=r"image\.heic: damaged or cut off"):
            read_rgb(tmp_path / "image.heic")


def test_a_part_whose_kind_is_no_text_is_refused(tmp_path: Path) -> None:
    """pi-heif ends the process where it is the kind of metadata."""
    pytest.importorskip("pi_heif")
    content = (ASSETS / "heic" / "plain.heic").read_bytes()
    at = content.index(b"hvc1", content.index(b"infe"))
    (tmp_path / "image.heic").write_bytes(content[: at + 2] + b"\xff" + content[at + 3 :])
    with pytest.raises(InputError, match=r"cut off \(the names of its parts are no text\)"):
        read_rgb(tmp_path / "image.heic")
