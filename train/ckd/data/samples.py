"""Samples of a data set: an image with its mask, label and group."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ckd.contract.errors import InputError
from ckd.contract.labels import label_of

Split = Literal["train", "val", "test"]
#: What a cut from the training images keeps together: all images of a lesion (or patient) if
#: "lesion", nothing if "image".
SplitBy = Literal["lesion", "image"]

#: Mask pixels above this value belong to the lesion, as for the official scorer.
MASK_THRESHOLD = 128


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with a mask, a label or both."""

    id: str
    image: Path
    mask: Path | None = None
    label: int | None = None  # index into SampleSet.labels; one past the last means none of them
    group: str | None = None  # lesion or patient; a group is in one split only


@dataclass(frozen=True, slots=True)
class SampleSet:
    """One split of one data set. ``labels`` gives the class order of ``Sample.label``."""

    name: str
    split: Split
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def only(self, keep: Callable[[Sample], bool]) -> "SampleSet":
        """The same set with only the samples that ``keep`` accepts."""
        return replace(self, samples=tuple(filter(keep, self.samples)))

    def with_masks(self) -> "SampleSet":
        """Samples that can train or score a segmentation."""
        return self.only(lambda sample: sample.mask is not None)

    def with_labels(self) -> "SampleSet":
        """Samples that can train or score a classification."""
        return self.only(lambda sample: sample.label is not None)

    def class_counts(self) -> tuple[int, ...]:
        """Samples per class, in the order of ``labels``."""
        counts = Counter(sample.label for sample in self.samples)
        return tuple(counts[index] for index in range(len(self.labels)))


def numbered_as(
    labels: tuple[str, ...], samples: SampleSet, *, exclusive: bool = True
) -> SampleSet:
    """The samples with their labels numbered in the system's order, which data sets may not share.

    The data set may have a class that the system does not know, if no image is of that class. If
    labels do not exclude each other, an image of an unknown class counts as one of no label.

    Raises:
        InputError: an image is of an unknown class, or there are no images.
    """
    if not len(samples):
        raise InputError(f"{samples.name}: no {samples.split} images to evaluate on")
    used = {label_of(samples.labels, s.label) for s in samples.samples if s.label is not None}
    unknown = sorted(used - set(labels))
    if unknown and exclusive:
        raise InputError(
            f"{samples.name}: holds images of {', '.join(unknown)}, but the system only knows "
            f"{', '.join(labels)}; evaluate it on data with these labels"
        )
    index = {label: number for number, label in enumerate(labels)}
    numbered = (
        s if s.label is None
        else replace(s, label=index.get(label_of(samples.labels, s.label), len(labels)))
        for s in samples.samples
    )  # fmt: skip
    return replace(samples, labels=labels, samples=tuple(numbered))
