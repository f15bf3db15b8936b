"""Names that differ only in how they are written: of masks and their images, and of labels."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ckd.picture.companions import MASK_WORD
from ckd.picture.formats import IMAGE_SUFFIXES

#: A word for masks that stands alone, between separators.
_MASK_WORD = re.compile(rf"(?<![^\W_]){MASK_WORD}(?![^\W_])")


def likely_masks(images: Sequence[Path], masks: Sequence[Path]) -> Mapping[Path, Path]:
    """Masks that are named almost as an image is, by image; only where no other comes close."""
    image_of, mask_of = _by_core(images), _by_core(masks)
    return {
        image_of[core][0]: mask_of[core][0]
        for core in image_of
        if len(image_of[core]) == len(mask_of.get(core, ())) == 1
    }


def alike_labels(labels: Iterable[str]) -> list[str]:
    """Labels that differ only in case, blanks or hyphens, such as "'Nevus' and 'nevus '"."""
    by_core: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        by_core[re.sub(r"[\W_]+", "", label.casefold()) or label].append(label)
    return [" and ".join(map(repr, alike)) for alike in by_core.values() if len(alike) > 1]


def _by_core(paths: Sequence[Path]) -> Mapping[str, Sequence[Path]]:
    by_core: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        by_core[_core(path.name)].append(path)
    return by_core


def _core(name: str) -> str:
    """What is left of a name without suffixes, case, separators and words for masks."""
    stem, dot, suffix = name.lower().rpartition(".")
    while dot and f".{suffix}" in IMAGE_SUFFIXES:  # also of "mole.jpg.png"
        name = stem
        stem, dot, suffix = name.rpartition(".")
    words = re.split(r"[\W_]+", _MASK_WORD.sub(" ", name.lower()))
    return "_".join(filter(None, words)) or name.lower()
