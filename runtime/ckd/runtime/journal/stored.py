"""One recorded frame, read again: foreign content, checked before it is decoded.

Suffixes: S side of the square network input in pixels.
"""

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from ckd.contract.tensors import TensorSpec
from ckd.finding.verdict import Verdict
from ckd.picture.limits import check_size
from ckd.picture.whole import whole_rgb
from ckd.runtime.journal import foreign

_PNG: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
#: Behind the size: 8 bits in each of red, green and blue, not interlaced.
_PNG_KIND: Final = b"\x08\x02\x00\x00\x00"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StoredFrame:
    """One frame of a journal; its files are read when they are asked for.

    Attributes:
        number: counts the analysed frames of the run from 0.
        source_index: counts the frames of the source.
        size_hw: rows and columns of the photograph.
        outputs: names of files by tensor name.
        tensors: SHA-256 of every tensor of the graph, by name; empty if they were not recorded.
        masks: SHA-256 by name, see `ckd.runtime.journal.record.mask_hashes`.
        finding: as JSON; None if a network gave no finite numbers.
        left_out: parts of the answer that a deadline left no time for.
        verdict: what the finding came to.
        photograph: name of its file; None without one.
        line: everything as it stands in the segment, unknown keys included.
        input_file: name of the file of what the networks saw.
        read: gives the content of a file of the segment.
    """

    number: int
    source_index: int
    size_hw: tuple[int, int]
    outputs: Mapping[str, str]
    tensors: Mapping[str, str]
    masks: Mapping[str, str]
    finding: Mapping[str, Any] | None
    left_out: tuple[str, ...]
    verdict: Verdict
    photograph: str | None
    line: Mapping[str, Any]
    input_file: str
    read: Callable[[str], bytes]

    @classmethod
    def of(cls, line: Mapping[str, Any], read: Callable[[str], bytes]) -> "StoredFrame":
        """A frame of a line of a segment; ``read`` gives the content of the segment's files.

        Raises:
            ValueError: the line is malformed.
        """
        sides = line.get("size_hw")
        if not isinstance(sides, list) or len(sides) != 2:
            raise ValueError("size_hw: expected rows and columns")
        height, width = (foreign.whole({"size_hw": side}, "size_hw", 1) for side in sides)
        check_size("size_hw", height, width)
        finding = None if line.get("finding") is None else foreign.table(line, "finding")
        return cls(
            number=foreign.whole(line, "number"),
            source_index=foreign.whole(line, "source_index"),
            size_hw=(height, width),
            outputs=foreign.texts(line, "outputs"),
            tensors=foreign.texts(line, "tensors"),
            masks=foreign.texts(line, "masks"),
            finding=finding,
            left_out=_left_out(line),
            verdict=verdict_of(finding),
            photograph=foreign.optional_text(line, "photograph"),
            line=line,
            input_file=foreign.text(line, "input"),
            read=read,
        )

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files without which it cannot be replayed."""
        return (self.input_file, *self.outputs.values())

    @property
    def side(self) -> int:
        """Of the picture that the networks saw; `ValueError` if it is no PNG."""
        head = self.read(self.input_file)[:24]
        if not head.startswith(_PNG):
            raise ValueError(f"{self.input_file}: expected a PNG")
        return int.from_bytes(head[16:20], "big")

    def input(self, side: int) -> NDArray[np.uint8]:
        """What the networks saw, uint8 RGB [S, S, 3]; `ValueError` if it is no such picture."""
        content, size = self.read(self.input_file), side.to_bytes(4, "big")
        if not content.startswith(_PNG + size + size + _PNG_KIND):  # before memory is taken for it
            raise ValueError(f"{self.input_file}: expected a PNG of {side}x{side} pixels in RGB")
        try:  # not by OpenCV, whose libpng prints what is wrong
            with PngImageFile(io.BytesIO(content)) as image:
                decoded_SS3 = np.array(image)
        except Exception as error:  # Pillow may raise anything for a damaged file
            raise ValueError(f"{self.input_file}: {foreign.said(error)}") from error
        if decoded_SS3.shape != (side, side, 3) or decoded_SS3.dtype != np.uint8:
            raise ValueError(f"{self.input_file}: damaged PNG")
        return decoded_SS3

    def output(self, spec: TensorSpec) -> NDArray[Any]:
        """An output as it was recorded; `ValueError` if it is not of that shape and type."""
        if spec.name not in self.outputs:
            raise ValueError(f"outputs: {spec.name} is missing")
        name = self.outputs[spec.name]
        packed = io.BytesIO(self.read(name))
        try:
            if np.lib.format.read_magic(packed) != (1, 0):
                raise ValueError("of another version than 1.0")
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(packed)
        except Exception as error:  # NumPy may raise anything for a damaged header
            raise ValueError(f"{name}: no array in NPY ({foreign.said(error)})") from error
        content = packed.read()
        if shape != spec.shape or is_fortran or dtype != np.dtype(spec.dtype):
            raise ValueError(f"{name}: expected {spec}, got {dtype}{list(shape)}")
        if len(content) != math.prod(spec.shape) * dtype.itemsize:
            raise ValueError(f"{name}: of the wrong length")
        return np.frombuffer(content, dtype).reshape(shape)

    def check_photograph(self) -> None:
        """Raise `ValueError` if there is one whose bytes are not those that were recorded."""
        if self.photograph is not None:
            self.read(self.photograph)

    def picture(self) -> NDArray[np.uint8] | None:
        """The photograph, uint8 RGB [H, W, 3]; None without one.

        Raises:
            ValueError: it is damaged, or not of the size that was recorded.
        """
        if self.photograph is None:
            return None
        try:
            image_HWC = whole_rgb(self.read(self.photograph))
        except ValueError:
            raise
        except Exception as error:  # decoders may raise anything for a damaged file
            raise ValueError(f"{self.photograph}: {foreign.said(error)}") from None
        if image_HWC.shape[:2] != self.size_hw:
            raise ValueError(f"{self.photograph}: not of the size that was recorded")
        return image_HWC


def verdict_of(finding: Mapping[str, Any] | None) -> Verdict:
    """What a finding in JSON came to, as `Finding.verdict`.

    Raises:
        ValueError: it is malformed.
    """
    if finding is None:
        return Verdict(None, None, None)
    label = foreign.optional_text(finding, "top")
    decision = foreign.table(finding, "decision")
    return Verdict(label, foreign.flag(decision, "flagged"), foreign.flag(decision, "refer"))


def _left_out(line: Mapping[str, Any]) -> tuple[str, ...]:
    names = line.get("left_out", [])  # before there were deadlines nothing was
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("left_out: expected a list of names")
    return tuple(names)
