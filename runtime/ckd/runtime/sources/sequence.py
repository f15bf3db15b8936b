"""A folder of images as a film: its photographs, in the order of the numbers in their names."""

import re
import time
from pathlib import Path

from typing_extensions import override

from ckd.contract.errors import InputError, SourceUnavailable
from ckd.picture.decode import read_rgb
from ckd.picture.folders import photographs_in
from ckd.runtime.sources.faults import Grabbed
from ckd.runtime.sources.opencv import Recording

#: Images have no times; FFmpeg takes them for as many a second, too.
IMAGES_PER_S = 25.0


class SequenceReader(Recording):
    """Reads the photographs of a folder one by one; those that cannot be read are passed over.

    `ckd.picture.folders` says what counts as a photograph, `ckd.picture.decode` how it is shown.

    Raises:
        SourceUnavailable: there is none that can be read.
    """

    finite = True

    def __init__(self, folder: Path) -> None:
        self.fps: float | None = IMAGES_PER_S
        self._files = sorted(photographs_in(folder).files, key=_by_numbers)
        self.num_frames: int | None = len(self._files)
        self._num_tried = self.num_damaged = 0
        self.position_s = 0.0
        self._first = self._next()
        if self._first is None:
            raise SourceUnavailable(
                f"{folder}: is a folder without images that can be read; expected a video file, or "
                "a folder of images"
            )
        self.size_hw = self._first.image.shape[0], self._first.image.shape[1]

    @override
    def read(self) -> Grabbed | None:
        """The next picture, RGB."""
        taken, self._first = (self._first or self._next()), None
        return taken

    @override
    def close(self) -> None:
        """Nothing is open between two pictures."""

    def _next(self) -> Grabbed | None:
        while self._num_tried < len(self._files):
            path = self._files[self._num_tried]
            self.position_s = self._num_tried / IMAGES_PER_S
            self._num_tried += 1
            try:
                return Grabbed(read_rgb(path), time.monotonic(), is_rgb=True)
            except InputError:
                self.num_damaged += 1
        return None


def _by_numbers(path: Path) -> tuple[list[str | int], str]:
    """Sorts "frame9" before "frame10"."""
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], str(path)
