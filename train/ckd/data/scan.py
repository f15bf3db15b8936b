"""Reads every image and mask of a data set once and records its state."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ckd.console.progress import Progress
from ckd.contract.errors import InputError
from ckd.data.samples import MASK_THRESHOLD, Sample, Split
from ckd.picture.decode import read_rgb
from ckd.picture.drawing import read_drawing

MaskState = Literal["good", "unreadable", "mis-sized", "empty", "full", "faint", "grey"]


@dataclass(frozen=True, slots=True)
class Scan:
    """State of one sample's files."""

    split: Split
    sample: Sample
    pixels_sha256: str | None  # of the decoded image; None if it cannot be read
    mask: MaskState | None  # None if the sample has no mask


def scan_samples(
    samples: Sequence[tuple[Split, Sample]], progress: Progress | None = None
) -> list[Scan]:
    """Read all files in a thread pool; ``progress`` is called with samples done and of all."""
    scans: list[Scan] = []
    pool = ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1))
    try:
        for scan in pool.map(lambda pair: _scan(*pair), samples):
            scans.append(scan)
            if progress is not None:
                progress(len(scans), len(samples))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt must not wait for all files
    return scans


def _scan(split: Split, sample: Sample) -> Scan:
    try:
        image_HWC = read_rgb(sample.image)
    except InputError:
        image_hw, digest = None, None
    else:
        image_hw = image_HWC.shape[:2]
        # The size is part of the digest, so that blank images of equal area differ by shape.
        digest = hashlib.sha256(repr(image_hw).encode() + image_HWC.tobytes()).hexdigest()
    mask = None if sample.mask is None else _mask_state(sample.mask, image_hw)
    return Scan(split, sample, digest, mask)


def _mask_state(path: Path, image_hw: tuple[int, ...] | None) -> MaskState:
    try:
        mask_HW = read_drawing(path)
    except InputError:
        return "unreadable"
    if image_hw is not None and mask_HW.shape != image_hw:
        return "mis-sized"
    lowest, highest = int(mask_HW.min()), int(mask_HW.max())
    if highest == 0:
        return "empty"
    if highest <= MASK_THRESHOLD:
        return "faint"
    if lowest > MASK_THRESHOLD:
        return "full"
    two_valued = bool(((mask_HW == lowest) | (mask_HW == highest)).all())
    return "good" if two_valued else "grey"
