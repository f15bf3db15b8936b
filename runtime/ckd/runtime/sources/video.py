"""Video files: every frame, in order, and an error rather than a silent end for a damaged one."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import SourceUnavailable
from ckd.picture.decode import IMAGE_SUFFIXES
from ckd.runtime.sources.frames import Frame, FrameSource, SourceState
from ckd.runtime.sources.opencv import CaptureReader, open_capture, rgb_from_bgr

#: A file that yields less than this share of what its header announces was cut off. Not 1.0:
#: containers estimate, and a clip trimmed on a phone hides a few frames behind an edit list.
COMPLETE_SHARE = 0.9


class VideoFile(FrameSource):
    """Frames of a video file. Nothing is dropped, however slow the consumer.

    Iterate once; open the file again for a second pass.

    Raises:
        SourceUnavailable: no such file, not a video, no frame in it; and from `get`, after the
            last readable frame, when the file turns out to be cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self._reader = VideoFileReader(path)
        self._num_taken = 0
        self._state: SourceState = "live"

    @property
    def num_frames(self) -> int | None:
        """Frames the container announces; some containers estimate it, some do not say."""
        return self._reader.num_frames

    @property
    def size_hw(self) -> tuple[int, int]:
        """Rows and columns, upright."""
        return self._reader.size_hw

    @property
    def state(self) -> SourceState:
        """See `FrameSource`."""
        return self._state

    @property
    def detail(self) -> str:
        """See `FrameSource`."""
        return "end of the file" if self._state == "ended" else ""

    @property
    def fps(self) -> float | None:
        """Frames per second as the container states it."""
        return self._reader.fps

    @property
    def dropped(self) -> int:
        """Always 0."""
        return 0

    def get(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame, or None at the end. A file is always ready: the time-out is unused."""
        if self._state != "live":
            return None
        try:
            taken = self._reader.read()
        except SourceUnavailable:
            self._state = "failed"
            raise
        if taken is None:
            self._state = "ended"
            return None
        self._num_taken += 1
        return Frame(rgb_from_bgr(taken[0]), self._num_taken - 1, taken[1])

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        if self._state == "live":
            self._state = "ended"


class VideoFileReader:
    """`FrameReader` over a file; the first frame is decoded at once, to know that there is one."""

    finite = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = _open(path)
        self.fps = self._reader.fps
        self.num_frames = self._reader.num_frames
        self._num_read = 0
        self.first = self._reader.read()
        if self.first is None:
            self._reader.close()
            raise SourceUnavailable(
                f"{path}: holds no frame that can be decoded; "
                "expected a video, so convert or copy the file again"
            )
        self.size_hw: tuple[int, int] = (self.first[0].shape[0], self.first[0].shape[1])

    def read(self) -> tuple[NDArray[np.uint8], float] | None:
        """See `FrameReader`; raises `SourceUnavailable` when the file ends before its time."""
        taken, self.first = (self.first or self._reader.read()), None
        if taken is None:
            self._check_complete()
            return None
        self._num_read += 1
        return taken

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _check_complete(self) -> None:
        if self.num_frames is None or self._num_read >= COMPLETE_SHARE * self.num_frames:
            return
        # Variable frame rates make the announced count wrong, but not the last frame's time.
        if self.fps and self._reader.position_s * self.fps >= COMPLETE_SHARE * self.num_frames - 1:
            return
        raise SourceUnavailable(
            f"{self._path}: ends after {self._num_read} of {self.num_frames} frames, so it is cut "
            "off or damaged; frames up to there were used, copy the file again for the rest"
        )


def _open(path: Path) -> CaptureReader:
    if path.is_dir():
        raise SourceUnavailable(f"{path}: is a folder, expected a video file")
    if not path.exists():
        raise SourceUnavailable(f"{path}: no such file")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        # OpenCV would open it, and go on with every image numbered after it.
        raise SourceUnavailable(
            f"{path}: is an image, expected a video; use `ckd-run image` for images"
        )
    if path.stat().st_size == 0:
        raise SourceUnavailable(f"{path}: the file is empty; copy it again")
    capture = open_capture(str(path))
    if capture is None:
        raise SourceUnavailable(
            f"{path}: not a video that OpenCV can read, or cut off before its index; "
            "expected e.g. MP4 or AVI (H.264, MPEG-4, MJPEG), so convert it or copy it again"
        )
    return CaptureReader(capture)
