"""Pictures that lie beside a photograph and are none: its mask, and what this program drew of it.

A name alone proves little: "mole_mask.png" may be a mole on a face with a mask. So results are
recognised by the JSON or the row that was written with them, and masks by having no colours.

Suffixes: H rows, W columns, C channels.
"""

import csv
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from ckd.contract.cells import uncelled
from ckd.contract.errors import InputError
from ckd.contract.parsing import read_json
from ckd.picture.decode import read_rgb
from ckd.picture.limits import GREY_COLOUR

_RESULT = re.compile(r"(.+)_(?:mask|overlay|explanation)", re.DOTALL)
#: What people put into the name of a mask, in lower case: a pattern.
MASK_WORD: Final = r"(?:masks?|segmentation|seg|gt|ground[ _.-]?truth|truth|label|lesion)"
_MASK = re.compile(rf"(.+?)[ _.-]+{MASK_WORD}", re.I | re.DOTALL)
#: Stems of masks of the ISIC archive end so, in any case; they lie in folders of their own, too.
ISIC_MASK: Final = "_segmentation"
#: What the JSON of every finding has.
_KEYS = frozenset({"probabilities", "bundle", "backend", "precision"})
#: Folders in which all PNG are drawn: of `ckd-train evaluate`, and bundles.
_ALL_DRAWN = (
    frozenset({"scores.json", "per_image.csv"}),
    frozenset({"cascade.json", "hashes.json"}),
)
#: What other commands draw -> what they write beside it.
_DRAWN_WITH: Final = {
    "suspects": "check.json",
    "learning_curves": "recipe.json",
    **dict.fromkeys(("outcome", "mask", "probabilities", "points", "refer"), "sections.json"),
    "capture": "sections.json",
    **dict.fromkeys(("corruptions", "corruptions_sheet"), "corruptions.json"),
    "study": "study.json",
    "sensitivity": "sensitivity.json",
    "latency": "latency.json",
    "compare": "compare.json",
    "settling": "settling.json",
    "gpu": "gpu.json",
}
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS_AT = 25  # PNG specification, 11.2.2: 0 is grey, 4 grey with alpha


@dataclass
class Companions:
    """Tells photographs of one folder from their companions.

    Args:
        folder: that is looked into.
        stems: of the pictures in it, without their last suffix.
        names: of all files in it.
    """

    folder: Path
    stems: frozenset[str]
    names: set[str]
    _results: dict[str, bool] = field(default_factory=dict)

    def kind_of(self, path: Path) -> str | None:
        """``"result"``, ``"mask"``, or None for a photograph."""
        if path.suffix == ".png" and (
            ((match := _RESULT.fullmatch(path.stem)) and self._is_result(match[1]))
            or _DRAWN_WITH.get(path.stem) in self.names
            or any(self.names >= written for written in _ALL_DRAWN)
        ):
            return "result"
        if path.stem.lower().endswith(ISIC_MASK):
            return "mask"
        match = _MASK.fullmatch(path.stem)
        return "mask" if match and match[1] in self.stems and _is_colourless(path) else None

    def _is_result(self, stem: str) -> bool:
        """Whether a finding of that name was written here."""
        if stem not in self._results:
            self._results[stem] = stem in self._rows or (
                f"{stem}.json" in self.names and _is_finding(self.folder / f"{stem}.json")
            )
        return self._results[stem]

    @cached_property
    def _rows(self) -> frozenset[str]:
        """Names in the `predictions.csv` of the folder, if it is of this program."""
        table = self.folder / "predictions.csv"
        if not {"predictions.csv", "run.json"} <= self.names or not table.is_file():
            return frozenset()
        try:
            with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                _, *rows = csv.reader(file)
                return frozenset(uncelled(row[0]) for row in rows if row)
        except (OSError, ValueError, csv.Error):  # ValueError: it is empty
            return frozenset()


def is_of_unit(path: Path) -> bool:
    """Whether a picture is a frame that a camera with a unit file saved, as its finding says.

    Such a frame is cut, turned and corrected already.
    """
    record = _finding_in(path.with_suffix(".json"))
    return record is not None and record.get("unit") is not None


def _is_finding(path: Path) -> bool:
    return _finding_in(path) is not None


def _finding_in(path: Path) -> dict[str, Any] | None:
    try:
        record = read_json(path)
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.keys() >= _KEYS else None


def _is_colourless(path: Path) -> bool:
    """Whether a picture is grey; a file that cannot be read is not known to be."""
    try:
        with path.open("rb") as file:
            head = file.read(_PNG_COLOURS_AT + 1)
        if head.startswith(_PNG) and head[_PNG_COLOURS_AT:] in (b"\0", b"\4"):
            return True
        image_HWC = read_rgb(path)
    except (OSError, InputError):
        return False
    return bool(np.ptp(image_HWC, axis=2).max() <= GREY_COLOUR)
