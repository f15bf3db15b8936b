"""Reads every image and mask of a data set once and records its state."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ckd.console.progress import Progress
from ckd.contract.errors import InputError
from ckd.data.agreement import agreement_of
from ckd.data.masks import is_faint
from ckd.data.samples import MASK_THRESHOLD, Sample, Split
from ckd.data.suspects import JudgedMask
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
    judged: JudgedMask | None = None  # if image and mask can be compared
    image_fault: str = ""  # why it cannot be read
    mask_fault: str = ""  # why it cannot be read, or both sizes


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
    except InputError as error:
        scan = Scan(split, sample, None, None, image_fault=_reason(sample.image, error))
        return _with_mask(scan, None)
    return _with_mask(Scan(split, sample, _digest(image_HWC), None), image_HWC)


def _with_mask(scan: Scan, image_HWC: NDArray[np.uint8] | None) -> Scan:
    """The scan with the state of the mask, if the sample has one."""
    sample = scan.sample
    if sample.mask is None:
        return scan
    try:
        grey_HW = read_drawing(sample.mask)
    except InputError as error:
        return replace(scan, mask="unreadable", mask_fault=_reason(sample.mask, error))
    if image_HWC is not None and grey_HW.shape != image_HWC.shape[:2]:
        (height, width), (rows, columns) = grey_HW.shape, image_HWC.shape[:2]
        fault = f"{width}x{height}, its image {columns}x{rows}"
        return replace(scan, mask="mis-sized", mask_fault=fault)
    state = _state(grey_HW)
    if image_HWC is None or scan.pixels_sha256 is None or state not in ("good", "grey"):
        return replace(scan, mask=state)
    agreement = agreement_of(image_HWC, grey_HW > MASK_THRESHOLD)
    digests = scan.pixels_sha256, _digest(grey_HW)
    judged = JudgedMask(sample.image, sample.mask, *digests, agreement)
    return replace(scan, mask=state, judged=judged)


def _reason(path: Path, error: InputError) -> str:
    """The error's message without the file's name."""
    return str(error).removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")


def _digest(pixels: NDArray[np.uint8]) -> str:
    # The size is part of the digest, so that blank images of equal area differ by shape.
    return hashlib.sha256(repr(pixels.shape[:2]).encode() + pixels.tobytes()).hexdigest()


def _state(grey_HW: NDArray[np.uint8]) -> MaskState:
    lowest, highest = int(grey_HW.min()), int(grey_HW.max())
    if highest == 0:
        return "empty"
    if is_faint(grey_HW):
        return "faint"
    if lowest > MASK_THRESHOLD:
        return "full"
    two_valued = bool(((grey_HW == lowest) | (grey_HW == highest)).all())
    return "good" if two_valued else "grey"
