"""Pictures that lie beside a photograph and are none: its mask, and what this program drew of it.

A name alone proves little: "mole_mask.png" may be a mole on a face with a mask. So results are
recognised by the JSON or the row that was written with them, and masks by having no colours.

Suffixes: H rows, W columns, C channels.
"""

import csv
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ckd.contract.errors import InputError
from ckd.picture.decode import read_rgb
from ckd.picture.limits import GREY_COLOUR

_RESULT = re.compile(r"(.+)_(?:mask|overlay|explanation)", re.DOTALL)
_MASK = re.compile(
    r"(.+?)[ _.-]+(?:mask|segmentation|seg|gt|ground[ _-]?truth|label|lesion)", re.I | re.DOTALL
)
#: Masks of the ISIC archive end so, and lie in folders of their own, too.
_ISIC_MASK = "_segmentation"
#: What the JSON of every finding has.
_KEYS = frozenset({"probabilities", "bundle", "backend", "precision"})
#: Where all pictures are drawn: what `ckd-train evaluate` writes (`data check` draws one).
_SCORES = frozenset({"scores.json", "per_image.csv"})
#: Likewise with ``--corruptions``.
_DAMAGE = frozenset({"corruptions.json", "corruptions.csv"})
_MAX_JSON_BYTES = 64 * 2**20
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
            or self.names >= _SCORES
            or self.names >= _DAMAGE
            or (path.name == "suspects.png" and "check.json" in self.names)
        ):
            return "result"
        if path.stem.lower().endswith(_ISIC_MASK):
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
                return frozenset(row[0] for row in rows if row)
        except (OSError, ValueError, csv.Error):  # ValueError: it is empty
            return frozenset()


def _is_finding(path: Path) -> bool:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_JSON_BYTES:
            return False
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.keys() >= _KEYS


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
