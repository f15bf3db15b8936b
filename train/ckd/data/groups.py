"""Groups of photographs that a network may serve unequally: by label, lesion size, skin and hair.

Every group has a place in the list, also one without a photograph, so that a table can say what was
not assessed. Bounds of skin tones are a convention on top of an angle that is itself an estimate
(`ckd.data.skin_tone`), so the angle is kept for each photograph beside the group.

Suffixes: H rows, W columns, C channels in RGB order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.capture.hair import COVERS, cover_of, hair_cover
from ckd.contract.labels import label_of
from ckd.data.masks import read_mask
from ckd.data.samples import Sample, SampleSet
from ckd.data.skin_tone import NO_TONE, TONES, tone_of, typology_angle
from ckd.picture.decode import read_rgb

#: Kinds of groups, in the order of tables.
KINDS: Final = ("label", "lesion size", "skin tone", "hair")
_SIZES: Final = ("small lesions", "middle lesions", "large lesions")


@dataclass(frozen=True, slots=True)
class Traits:
    """What a photograph is grouped by.

    Attributes:
        lesion_share: of the photograph that the true mask covers; None without a mask.
        ita_degrees: typology angle of the skin around the lesion; None without a mask, or if too
            little skin is visible.
        hair_share: of the photograph that dark hair covers.
    """

    lesion_share: float | None
    ita_degrees: float | None
    hair_share: float


@dataclass(frozen=True, slots=True)
class Group:
    """Photographs that have something in common.

    Attributes:
        kind: one of `KINDS`.
        name: such as "small lesions".
        images: indices into the data set, in its order; there may be none.
    """

    kind: str
    name: str
    images: tuple[int, ...]


def traits_of(image_HWC: NDArray[np.uint8], truth_HW: NDArray[np.bool_] | None) -> Traits:
    """Measure a photograph.

    Args:
        image_HWC: RGB.
        truth_HW: true mask of its size, or None.
    """
    if truth_HW is None:
        return Traits(None, None, hair_cover(image_HWC))
    angle = typology_angle(image_HWC, truth_HW)
    return Traits(float(truth_HW.mean()), angle, hair_cover(image_HWC))


def read_traits(sample: Sample) -> Traits:
    """Read a photograph and measure it.

    Raises:
        InputError: it or its mask cannot be read, or they differ in size.
    """
    image_HWC = read_rgb(sample.image)
    truth_HW = None if sample.mask is None else read_mask(sample.mask, image_HWC.shape)
    return traits_of(image_HWC, truth_HW)


def groups_of(samples: SampleSet, traits: Sequence[Traits]) -> tuple[Group, ...]:
    """All groups of a data set, those without a photograph included.

    Lesions are small, middle or large by thirds of this data set. A photograph may be in no group
    of a kind: one without a label or without a mask. Those with too little skin in view are a group
    of their own if there are any.

    Args:
        samples: photographs.
        traits: of each of them, in their order.
    """
    labels = [
        None if s.label is None else label_of(samples.labels, s.label) for s in samples.samples
    ]
    names = dict.fromkeys([*samples.labels, *(label for label in labels if label is not None)])
    groups = _named("label", names, labels)
    sized = [index for index, one in enumerate(traits) if one.lesion_share is not None]
    sized.sort(key=lambda index: traits[index].lesion_share or 0.0)
    for name, third in zip(_SIZES, np.array_split(sized, len(_SIZES)), strict=True):
        groups.append(Group("lesion size", name, tuple(sorted(map(int, third)))))
    tones = [None if t.lesion_share is None else tone_of(t.ita_degrees) for t in traits]
    groups += _named("skin tone", [*TONES, *({NO_TONE} & {*tones})], tones)
    groups += _named("hair", COVERS, [cover_of(one.hair_share) for one in traits])
    return tuple(groups)


def _named(kind: str, names: Iterable[str], of: Sequence[str | None]) -> list[Group]:
    """A group for each name, of the indices at which it stands."""
    return [
        Group(kind, name, tuple(index for index, own in enumerate(of) if own == name))
        for name in names
    ]
