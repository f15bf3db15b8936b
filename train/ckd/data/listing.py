"""From folders and tables to the samples of one split; what is left out is listed for the report.

Every layout is turned into a `Pool`: images, masks, classes and groups by image id. Files and rows
that its listing leaves out (images without mask and label, rows without image) do no harm in
training; `ckd-train data check` shows them.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ckd.contract.errors import InputError
from ckd.data.samples import Sample, SampleSet, Split
from ckd.picture.companions import ISIC_MASK
from ckd.picture.folders import Photographs, masks_in, photographs_in

#: Share of the groups in each split that is cut from the training images.
CUT_SPLIT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Listing:
    """One split as it is on the disk: samples that can be used, and files that cannot."""

    set: SampleSet
    made_up: bool = False  # cut from the training images, because the data set has no such split
    without_truth: tuple[Path, ...] = ()  # images with neither mask nor label
    rows_without_image: tuple[str, ...] = ()  # image ids
    masks_without_image: tuple[Path, ...] = ()
    masks_beside: tuple[Path, ...] = ()  # that lie among the images, where they are not used
    left_out: tuple[str, ...] = ()  # one line for each folder that holds other files too


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Files, classes and groups that belong together, by image id."""

    images: Mapping[str, Path]
    masks: Mapping[str, Path] = field(default_factory=dict)
    classes: Mapping[str, int | None] = field(default_factory=dict)  # one entry per table row
    groups: Mapping[str, str] = field(default_factory=dict)
    stray_masks: tuple[Path, ...] = ()  # that are not named as the layout has it
    masks_beside: tuple[Path, ...] = ()  # that lie among the images
    left_out: tuple[str, ...] = ()  # one line for each folder

    def split_key(self, image_id: str) -> str:
        """The key by which `hashed_split` places an image: its group, so that groups stay whole."""
        return self.groups.get(image_id, image_id)

    def listing(
        self,
        name: str,
        split: Split,
        labels: tuple[str, ...],
        belongs: Callable[[str], bool] = lambda image_id: True,
    ) -> Listing:
        """The images, rows and masks for whose id ``belongs`` is true, in the order of the ids."""
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
        masks = [self.masks[id_] for id_ in self.masks if id_ not in self.images and belongs(id_)]
        masks += [path for path in self.stray_masks if belongs(path.stem)]
        return Listing(
            SampleSet(name, split, labels, tuple(samples)),
            without_truth=tuple(without_truth),
            rows_without_image=tuple(sorted(rows)),
            masks_without_image=tuple(sorted(masks)),
            masks_beside=self.masks_beside,
            left_out=self.left_out,
        )


def hashed_split(key: str, cut: Collection[Split]) -> Split:
    """The split of a group or image if the splits ``cut`` are cut from the training images.

    It follows from a hash of the key alone: it is the same on every machine, and an image keeps its
    split when other images are added to the data set.
    """
    digest = hashlib.sha256(key.encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < CUT_SPLIT_SHARE:
        return "val" if "val" in cut else "train"
    if share < 2 * CUT_SPLIT_SHARE:
        return "test" if "test" in cut else "train"
    return "train"


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a folder by image id.

    Attributes:
        by_id: of photographs or masks.
        strays: that are named in another way than the layout has it, or masks among photographs.
        left_out: one line about what is neither; empty if there is nothing.
    """

    by_id: Mapping[str, Path] = field(default_factory=dict)
    strays: tuple[Path, ...] = ()
    left_out: str = ""


def image_files(folder: Path) -> Files:
    """Photographs of a folder by stem, as `ckd.picture.folders` decides what is one.

    Raises:
        InputError: two files share a stem, so that masks and labels would be ambiguous.
    """
    return _by_id(photographs_in(folder, below=False), lambda stem: stem)


def mask_files(folder: Path, *, suffix_required: bool) -> Files:
    """Mask files of a folder by image id; ``_segmentation`` after the id, in any case, is dropped.

    Raises:
        InputError: two masks for one image.
    """

    def image_id(stem: str) -> str | None:
        if stem.lower().endswith(ISIC_MASK):
            return stem[: -len(ISIC_MASK)]
        return None if suffix_required else stem

    return _by_id(masks_in(folder), image_id)


def _by_id(found: Photographs, id_of_stem: Callable[[str], str | None]) -> Files:
    files: dict[str, Path] = {}
    strays: list[Path] = []
    for path in found.files:
        image_id = id_of_stem(path.stem)
        if image_id is None:
            strays.append(path)
            continue
        if image_id in files:
            raise InputError(
                f"{found.folder}: {files[image_id].name} and {path.name} both stand for "
                f"{image_id!r}; keep one of them"
            )
        files[image_id] = path
    return Files(files, (*strays, *found.masks), found.sentence)
