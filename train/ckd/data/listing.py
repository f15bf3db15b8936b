"""From folders and tables to the samples of one split, with what was left out kept for the report.

Every layout reduces to a `Pool`: images, masks, classes and groups by image id. What a pool's
listing leaves out (an image that nothing is known of, a table row without image) is tolerated in
training and shown by `ckd-train data check`.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ckd.contract.errors import InputError
from ckd.data.samples import Sample, SampleSet, Split
from ckd.picture.decode import IMAGE_SUFFIXES

#: Share of the groups that each made-up split receives.
MADE_SPLIT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Listing:
    """One split as it lies on the disk: what can be used, and what cannot."""

    set: SampleSet
    made_up: bool = False  # the data set has no such split; it was cut from the training images
    without_truth: tuple[Path, ...] = ()  # images with neither mask nor label
    rows_without_image: tuple[str, ...] = ()  # image ids
    masks_without_image: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Files and facts that belong together, all by image id."""

    images: Mapping[str, Path]
    masks: Mapping[str, Path] = field(default_factory=dict)
    classes: Mapping[str, int | None] = field(default_factory=dict)  # one entry per table row
    groups: Mapping[str, str] = field(default_factory=dict)

    def split_key(self, image_id: str) -> str:
        """What decides an image's made-up split: its group, so that no group straddles."""
        return self.groups.get(image_id, image_id)

    def listing(
        self,
        name: str,
        split: Split,
        labels: tuple[str, ...],
        belongs: Callable[[str], bool] = lambda image_id: True,
    ) -> Listing:
        """The images, rows and masks whose id ``belongs``, in the order of their ids."""
        samples, without_truth = [], []
        for image_id, image in sorted(self.images.items()):
            if not belongs(image_id):
                continue
            mask, label = self.masks.get(image_id), self.classes.get(image_id)
            if mask is None and label is None:
                without_truth.append(image)
            else:
                samples.append(Sample(image_id, image, mask, label, self.groups.get(image_id)))
        rows = (id_ for id_ in self.classes if id_ not in self.images and belongs(id_))
        masks = (self.masks[id_] for id_ in self.masks if id_ not in self.images and belongs(id_))
        return Listing(
            SampleSet(name, split, labels, tuple(samples)),
            without_truth=tuple(without_truth),
            rows_without_image=tuple(sorted(rows)),
            masks_without_image=tuple(sorted(masks)),
        )


def made_split(key: str, made: Collection[Split]) -> Split:
    """The split of a group or image where the splits ``made`` are cut from the training images.

    Decided by a hash of the key alone: the same on every machine, and an image keeps its place
    when others join the data set.
    """
    digest = hashlib.sha256(key.encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < MADE_SPLIT_SHARE:
        return "val" if "val" in made else "train"
    if share < 2 * MADE_SPLIT_SHARE:
        return "test" if "test" in made else "train"
    return "train"


def image_files(folder: Path, besides: Collection[str] = ()) -> dict[str, Path]:
    """Image files of a folder by stem, without those whose stem ends in one of ``besides``.

    Raises:
        InputError: two files share a stem, so that masks and labels would be ambiguous.
    """
    return _by_id(folder, lambda stem: None if stem.lower().endswith(tuple(besides)) else stem)


def mask_files(folder: Path, *, suffix_required: bool) -> dict[str, Path]:
    """Mask files of a folder by image id; ``_segmentation`` after the id, in any case, is dropped.

    Raises:
        InputError: two masks for one image.
    """

    def image_id(stem: str) -> str | None:
        if stem.lower().endswith("_segmentation"):
            return stem[: -len("_segmentation")]
        return None if suffix_required else stem

    return _by_id(folder, image_id)


def _by_id(folder: Path, id_of_stem: Callable[[str], str | None]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        # Names that begin with a dot are other systems' leavings ("._lesion.jpg").
        if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        image_id = id_of_stem(path.stem)
        if image_id is None:
            continue
        if image_id in found:
            raise InputError(
                f"{folder}: {found[image_id].name} and {path.name} both stand for {image_id!r}; "
                "keep one of them"
            )
        found[image_id] = path
    return found
