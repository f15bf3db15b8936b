"""The images that ranges are measured on, and why some of them cannot serve."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckd.console import Progress
from ckd.contract.errors import InputError
from ckd.data.samples import SampleSet
from ckd.picture.decode import read_rgb
from ckd.runtime import Cascade
from ckd.runtime.sources.images import images_below

#: Fewer images leave the ranges to chance: a rare kind of lesion is then clipped.
MIN_IMAGES = 50
#: A larger share of unusable images says that the user named the wrong folder.
MAX_UNUSABLE = 0.2
#: An image shows nothing if the standard deviation over its pixels, on the scale of 0 to 255, is
#: below this in every colour.
MIN_CONTRAST = 3.0


@dataclass(frozen=True, slots=True)
class CalibrationImages:
    """The images to measure on.

    Attributes:
        paths: by the SHA-256 of their content; of several copies, one.
        unusable: why the others cannot serve, by path.
    """

    paths: Mapping[str, Path]
    unusable: Mapping[Path, str]


def calibration_images(
    folder: Path,
    cascade: Cascade,
    limit: int,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> CalibrationImages:
    """Up to ``limit`` images of a folder, spread evenly over it, that show a lesion.

    Args:
        folder: searched with its subfolders.
        cascade: in float32; an image in which it outlines nothing shows no lesion.
        limit: largest number of images.
        progress: told (done, total).
        say: told how many files are no photographs.

    Raises:
        InputError: no such folder, too few images, or too many of them unusable.
    """
    chosen = spread(images_below(folder, say=say), limit)
    paths: dict[str, Path] = {}
    unusable: dict[Path, str] = {}
    for done, path in enumerate(chosen, start=1):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in paths:
            unusable[path] = f"same content as {paths[digest].name}"
        else:
            try:
                image_HWC = read_rgb(path)
                finding = cascade.predict(image_HWC)
                if image_HWC.std(axis=(0, 1)).max() < MIN_CONTRAST:
                    unusable[path] = "it is one even colour"
                elif finding.reason is not None:
                    unusable[path] = finding.reason.text
                elif finding.mask_HW is None or finding.lesion_area_px:
                    paths[digest] = path
                else:
                    unusable[path] = "no lesion is outlined in it"
            except InputError as error:
                unusable[path] = str(error)
        if progress is not None:
            progress(done, len(chosen))
    if len(unusable) > MAX_UNUSABLE * len(chosen):
        path, why = next(iter(unusable.items()))
        raise InputError(
            f"{folder}: {len(unusable)} of {len(chosen)} images cannot be calibrated on; the first "
            f"is {path.name}: {why}"
        )
    if len(paths) < MIN_IMAGES:
        raise InputError(
            f"{folder}: {len(paths)} usable images, expected at least {MIN_IMAGES} like those that "
            "the device will see"
        )
    return CalibrationImages(paths, unusable)


def spread(files: Sequence[Path], limit: int) -> list[Path]:
    """Every n-th file, so that a sorted folder gives more than its first patients."""
    count = min(limit, len(files))
    return [files[index * len(files) // count] for index in range(count)]


def by_digest(files: Sequence[Path]) -> dict[str, Path]:
    """Files by the SHA-256 of their content."""
    return {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in files}


def check_apart(images: Mapping[str, Path], samples: SampleSet) -> None:
    """`InputError` if an image (by SHA-256) is a sample: judged on it, INT8 would look too good."""
    for digest, judge in by_digest([sample.image for sample in samples.samples]).items():
        if digest in images:
            raise InputError(
                f"{images[digest]} is {judge.name} of the images to judge by; calibrate on others, "
                "such as training images"
            )
