"""What a journal records of a frame, and how it is encoded: standard files, and one line of JSON.

Suffixes: S side of the square network input in pixels; H rows, W columns, C channels in RGB order.
"""

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.finding.files import png_of
from ckd.finding.finding import Finding
from ckd.picture.encode import encode_jpeg
from ckd.runtime.inputs import Analysed

#: Of photographs that do not come from the camera as a JPEG; with colour at half resolution.
JPEG_QUALITY: Final = 85
#: How a PNG begins.
_PNG: Final = b"\x89PNG"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FrameRecord:
    """One analysed frame, on its way to disk.

    Attributes:
        number: counts the analysed frames of a run from 0, recorded or not.
        source_index: counts the frames of the source, see `Frame`.
        captured_s: when it was grabbed, by the monotonic clock.
        photograph: the JPEG or PNG as the camera sent it, or uint8 RGB [H, W, 3].
        heard: what the networks saw and gave.
        finding: None if a network gave no finite numbers.
        analysed_s: when it was analysed, by the monotonic clock.
        counters: of the run, as they were before this frame.
        over_frames: state that runs over frames, likewise.
    """

    number: int
    source_index: int
    captured_s: float
    photograph: bytes | NDArray[np.uint8]
    heard: Analysed
    finding: Finding | None
    analysed_s: float
    counters: Mapping[str, Any]
    over_frames: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """That the record keeps in memory."""
        photograph, finding = self.photograph, self.finding
        size = len(photograph) if isinstance(photograph, bytes) else photograph.nbytes
        # A finding has its masks twice, as the networks said and as they were cleaned up.
        masks = {} if finding is None else _masks(finding)
        return size + self.heard.num_bytes + 2 * sum(mask.nbytes for mask in masks.values())

    def encoded(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The line of this frame, and its files by name."""
        stem, heard, finding = f"{self.number:08d}", self.heard, self.finding
        files, outputs = {f"{stem}.input.png": png_of(heard.image_SS3)}, {}
        for index, (name, values) in enumerate(heard.outputs.items()):
            outputs[name] = f"{stem}.{index}-{_UNSAFE.sub('_', name)}.npy"
            files[outputs[name]] = _npy(values)
        given = self.photograph
        photograph, shown = given if isinstance(given, bytes) else _jpeg(given), None
        if photograph is not None:
            shown = f"{stem}.photograph.{'png' if photograph.startswith(_PNG) else 'jpg'}"
            files[shown] = photograph
        line = {
            "kind": "frame",
            "number": self.number,
            "source_index": self.source_index,
            "captured_s": self.captured_s,
            "analysed_s": self.analysed_s,
            "size_hw": list(heard.size_hw),
            "input": f"{stem}.input.png",
            "photograph": shown,
            "photograph_from": "camera" if isinstance(given, bytes) else "ckd",
            "outputs": outputs,
            "left_out": list(heard.left_out),
            "tensors": {name: sha256_of(values) for name, values in heard.tensors.items()},
            "masks": {} if finding is None else mask_hashes(finding),
            "finding": None if finding is None else finding.as_dict(),
        }
        return line, files


def mask_hashes(finding: Finding) -> dict[str, str]:
    """SHA-256 of each mask by name, of eight pixels in a byte, row after row."""
    return {name: sha256_of(np.packbits(mask_HW)) for name, mask_HW in _masks(finding).items()}


def sha256_of(values: NDArray[Any]) -> str:
    """SHA-256 of the bytes of an array, in row-major order."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def _masks(finding: Finding) -> dict[str, NDArray[np.bool_]]:
    masks = {"fine": finding.mask_HW, "coarse": finding.coarse_mask_HW}
    return {name: mask_HW for name, mask_HW in masks.items() if mask_HW is not None}


def _npy(values: NDArray[Any]) -> bytes:
    packed = io.BytesIO()
    np.lib.format.write_array(packed, values, version=(1, 0), allow_pickle=False)
    return packed.getvalue()


def _jpeg(image_HWC: NDArray[np.uint8]) -> bytes | None:
    """None for a photograph that no JPEG can hold, as one of 70 000 columns."""
    try:
        return encode_jpeg(image_HWC, JPEG_QUALITY)
    except ValueError:
        return None
