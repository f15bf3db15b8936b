"""How far answers hold when captures are bad: every kind and grade of damage, on every image.

A photograph is decoded once, brought to a working size, damaged in all ways, and all its versions
go through the networks together. Damage at the size of a camera would take minutes for each
photograph and end in the same picture at network size. The undamaged picture takes the same way, so
that differences are those of the damage.

Suffixes: H rows, W columns, C channels in RGB order, S network side.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.console.progress import Progress
from ckd.contract.errors import UsageError
from ckd.data.corruptions import CORRUPTIONS, GRADES, corrupted
from ckd.data.masks import read_mask
from ckd.data.samples import Sample, SampleSet, numbered_as
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.scores.estimates import Answered
from ckd.scores.images import ImageScore
from ckd.train.evaluation.judge import Judge

#: Photographs whose shorter side is longer are brought to this size before they are damaged.
WORKING_PX: Final = 512
_THREADS: Final = 2
_AHEAD: Final = 4  # photographs; each is held in all its versions at network size


@dataclass(frozen=True, slots=True)
class Setting:
    """One kind of damage in one grade, with what was answered then."""

    kind: str
    grade: int
    answered: Answered


@dataclass(frozen=True, slots=True)
class Robustness:
    """What was answered for the photographs as they are and damaged.

    Attributes:
        undamaged: answers for the photographs as they are.
        settings: each kind in each grade, in the order of kinds and grades.
    """

    undamaged: Answered
    settings: tuple[Setting, ...]

    def kinds(self) -> dict[str, tuple[Setting, ...]]:
        """The settings by kind."""
        names = dict.fromkeys(setting.kind for setting in self.settings)
        return {name: tuple(s for s in self.settings if s.kind == name) for name in names}


@dataclass(frozen=True, slots=True)
class _Version:
    picture_SS3: NDArray[np.uint8]
    truth_HW: NDArray[np.bool_] | None


def checked_kinds(names: Sequence[str]) -> tuple[str, ...]:
    """Kinds of damage by name, in the order of tables; all of them if none is named.

    Raises:
        UsageError: there is no such kind.
    """
    for name in names:
        if name not in CORRUPTIONS:
            raise UsageError(f"no corruption {name!r}: expected some of {', '.join(CORRUPTIONS)}")
    return tuple(kind for kind in CORRUPTIONS if kind in names or not names)


def spread(samples: SampleSet, count: int | None) -> SampleSet:
    """At most ``count`` samples, evenly spread over the data set."""
    if count is None or count >= len(samples):
        return samples
    places = np.linspace(0, len(samples) - 1, count).round().astype(int)
    return replace(samples, samples=tuple(samples.samples[place] for place in places))


def working_copy(
    sample: Sample,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """A photograph and its true mask at the size that damage is done at.

    Raises:
        InputError: one cannot be read, or they differ in size.
    """
    image_HWC = read_rgb(sample.image)
    truth_HW = None if sample.mask is None else read_mask(sample.mask, image_HWC.shape)
    scale = WORKING_PX / min(image_HWC.shape[:2])
    if scale < 1:
        size = (round(image_HWC.shape[1] * scale), round(image_HWC.shape[0] * scale))
        image_HWC = np.asarray(cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)
        if truth_HW is not None:
            share_HW = cv2.resize(truth_HW.astype(np.float32), size, interpolation=cv2.INTER_AREA)
            truth_HW = np.asarray(share_HW >= 0.5)
    return image_HWC, truth_HW


def measure_robustness(
    judge: Judge,
    samples: SampleSet,
    kinds: Sequence[str] = tuple(CORRUPTIONS),
    progress: Progress | None = None,
) -> Robustness:
    """Let a judge answer every photograph as it is and in every kind and grade of damage.

    Args:
        judge: of the networks.
        samples: photographs.
        kinds: names of `CORRUPTIONS`.
        progress: called with the number of photographs done and of all.

    Raises:
        InputError: there are no photographs, one cannot be read, or has an unknown label.
    """
    source = judge.source
    samples = numbered_as(source.labels, samples, exclusive=source.outputs.exclusive)
    ways = [(kind, grade) for kind in kinds for grade in GRADES]
    columns: list[list[ImageScore]] = [[] for _ in range(1 + len(ways))]
    for done, (sample, versions) in enumerate(_versions(samples, ways, source.image_size), start=1):
        logits = judge.logits(np.stack([version.picture_SS3 for version in versions]))
        for column, own, version in zip(columns, logits, versions, strict=True):
            column.append(judge.score(own, sample, version.picture_SS3, version.truth_HW))
        if progress is not None:
            progress(done, len(samples))
    undamaged, *damaged = map(judge.answered, columns)
    settings = (Setting(*way, answers) for way, answers in zip(ways, damaged, strict=True))
    return Robustness(undamaged, tuple(settings))


def _versions(
    samples: SampleSet, ways: Sequence[tuple[str, int]], side_px: int
) -> Iterator[tuple[Sample, list[_Version]]]:
    """Each sample as it is and then damaged in all ways, a few samples ahead of the networks."""

    def of(sample: Sample) -> list[_Version]:
        image_HWC, truth_HW = working_copy(sample)
        pairs = [(image_HWC, truth_HW)]
        pairs += [corrupted(image_HWC, truth_HW, *way, sample.id) for way in ways]
        return [_Version(network_image(picture, side_px), mask) for picture, mask in pairs]

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(samples), _AHEAD):
            chunk = samples.samples[start : start + _AHEAD]
            yield from zip(chunk, pool.map(of, chunk), strict=True)
