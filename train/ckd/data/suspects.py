"""Masks that probably do not belong on their photograph as they lie, and what was done to them.

How sure one can be depends on the others: one mask that would lie better if it were turned may be
chance, many that would lie better if they were turned in the same way are not. The limits were
chosen on ISIC 2017, where they name nothing; docs/photographs.md says what they find.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckd.data.agreement import UNDOING, Agreement

#: A single mask is named if it fits so well, and by so much better, undone.
_LEAST_FIT, _LEAST_GAIN = 0.5, 0.15
#: Where the same was done to many, these are enough.
_LEAST_COMMON_FIT, _LEAST_COMMON_GAIN = 0.2, 0.05
#: "Many" are so many, and such a share of those whose fit decides.
_MANY, _LARGE_SHARE = 5, 0.2
#: Inverted: the inside is brighter by so much, and holds so much of the picture's border.
_BRIGHTER, _LEAST_BORDER = -0.2, 0.5
#: Colours inside and outside that differ by less cannot be told apart, on the scale of 0 to 441.
_LEAST_CONTRAST = 2.0
#: Photographs with the same mask, to the pixel.
_TOO_ALIKE = 3


@dataclass(frozen=True, slots=True)
class JudgedMask:
    """A mask that was compared with its photograph."""

    image: Path
    mask: Path
    pixels_sha256: str
    mask_sha256: str
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Suspect:
    """A mask to look at.

    Attributes:
        code: of the problem, as in `ckd.data.problems`.
        what: is the matter with it, in words.
        undo: what may have been done to it, a key of `UNDOING`; or None.
    """

    code: str
    image: Path
    mask: Path
    what: str
    undo: str | None = None


def suspects_of(masks: Sequence[JudgedMask]) -> list[Suspect]:
    """The masks to look at, in their order; each is named once."""
    found: dict[Path, Suspect] = {}
    for suspect in (*_alike(masks), *_turned_alike(masks), *map(_alone, masks)):
        if suspect is not None:
            found.setdefault(suspect.mask, suspect)
    return [found[entry.mask] for entry in masks if entry.mask in found]


def _alike(masks: Sequence[JudgedMask]) -> Iterable[Suspect]:
    by_content: dict[str, list[JudgedMask]] = defaultdict(list)
    for entry in masks:
        by_content[entry.mask_sha256].append(entry)
    for twins in by_content.values():
        num_pictures = len({twin.pixels_sha256 for twin in twins})
        if num_pictures >= _TOO_ALIKE:
            what = f"the same for {num_pictures} photographs"
            yield from (Suspect("alike-mask", twin.image, twin.mask, what) for twin in twins)


def _turned_alike(masks: Sequence[JudgedMask]) -> Iterable[Suspect]:
    """Masks to which the same was done as to many others."""
    num_right = sum(
        entry.agreement.fit > _LEAST_COMMON_FIT and _gain(entry.agreement) < -_LEAST_COMMON_GAIN
        for entry in masks
    )
    for undo in UNDOING:
        named = [
            entry
            for entry in masks
            if (fit := entry.agreement.others.get(undo, -1.0)) > _LEAST_COMMON_FIT
            and fit - entry.agreement.fit > _LEAST_COMMON_GAIN
        ]
        best = sum(entry.agreement.others[undo] == _best(entry.agreement) for entry in named)
        if best >= _MANY and best >= _LARGE_SHARE * (best + num_right):
            yield from (_turned("turned-masks", entry, undo) for entry in named)


def _alone(entry: JudgedMask) -> Suspect | None:
    """What shows without the other masks."""
    agreement = entry.agreement
    if agreement.fit < _BRIGHTER and agreement.border > _LEAST_BORDER:
        return Suspect("inverted-mask", entry.image, entry.mask, "inverted")
    if agreement.contrast < _LEAST_CONTRAST:
        return Suspect("flat-mask", entry.image, entry.mask, "no different inside")
    if _best(agreement) > _LEAST_FIT and _gain(agreement) > _LEAST_GAIN:
        undo = max(agreement.others, key=agreement.others.__getitem__)
        return _turned("turned-mask", entry, undo)
    return None


def _turned(code: str, entry: JudgedMask, undo: str) -> Suspect:
    return Suspect(code, entry.image, entry.mask, undo, undo)


def _best(agreement: Agreement) -> float:
    return max(agreement.others.values())


def _gain(agreement: Agreement) -> float:
    return _best(agreement) - agreement.fit
