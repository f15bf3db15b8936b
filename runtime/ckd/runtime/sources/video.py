"""Video files: every frame in order, and an error at the end of a damaged file."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import cv2
from typing_extensions import override

from ckd.contract.errors import SourceUnavailable
from ckd.picture.decode import holds_image
from ckd.picture.formats import IMAGE_SUFFIXES
from ckd.picture.upright import upright
from ckd.runtime.sources.containers import holds_its_end, orientation_shown
from ckd.runtime.sources.faults import FaultKind, Grabbed
from ckd.runtime.sources.frames import Frame, FrameSource, SourceState
from ckd.runtime.sources.names import input_label
from ckd.runtime.sources.opencv import CaptureReader, Recording, open_capture, rgb_of
from ckd.runtime.sources.sequence import SequenceReader

#: Where a file's structure has no length: with less than this share of the frames that its header
#: announces it was cut off. It is not 1.0, because these counts are estimates.
COMPLETE_SHARE = 0.9
#: EXIF orientations that mirror, which OpenCV takes for turns.
_MIRRORING = (2, 4, 5, 7)
_JPEG_STREAMS = (".mjpeg", ".mjpg")


class VideoFile(FrameSource):
    """Frames of a video file or of a folder of images. None is dropped, however slow the consumer.

    Iterate once; open the file again for a second pass. Images that cannot be read are counted as
    damaged, and leave a gap in the numbers of frames.

    Raises:
        SourceUnavailable: the file does not exist, is no video or has no frame; `get` raises it
            after the last readable frame if the file is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self._reader = open_recording(path)
        self._num_taken = 0
        self._state: SourceState = "live"

    @cached_property
    @override
    def label(self) -> str:
        return input_label(1, self.path)

    @property
    def num_frames(self) -> int | None:
        """Frames that the container announces, which may be an estimate; None if it does not."""
        return self._reader.num_frames

    @property
    def size_hw(self) -> tuple[int, int]:
        """Rows and columns, upright."""
        return self._reader.size_hw

    @property
    @override
    def state(self) -> SourceState:
        return self._state

    @property
    @override
    def detail(self) -> str:
        return "end of the file" if self._state == "ended" else ""

    @property
    @override
    def fps(self) -> float | None:
        return self._reader.fps

    @property
    @override
    def dropped(self) -> int:
        return 0

    @property
    @override
    def faults(self) -> Mapping[FaultKind, int]:
        return {"damaged": count} if (count := self._reader.num_damaged) else {}

    @override
    def get(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame, or None at the end; the time-out is not used."""
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
        image_HWC = rgb_of(taken)
        index = self._num_taken + self._reader.num_damaged - 1
        return Frame(image_HWC, index, taken.captured_s, position_s=self._reader.position_s)

    @override
    def close(self) -> None:
        self._reader.close()
        if self._state == "live":
            self._state = "ended"


def open_recording(path: Path) -> Recording:
    """A reader of a video file, or of the images of a folder.

    Raises:
        SourceUnavailable: there is nothing of that name, or no frame in it.
    """
    return SequenceReader(path) if path.is_dir() else VideoFileReader(path)


class VideoFileReader(Recording):
    """Reads a file; the first frame is decoded at once, to check that there is one.

    Raises:
        SourceUnavailable: the file does not exist, is no video or has no frame.
    """

    finite = True
    num_damaged = 0  # OpenCV does not tell

    def __init__(self, path: Path) -> None:
        self._path = path
        capture = _open(path)
        self._orientation = (
            orientation if (orientation := orientation_shown(path)) in _MIRRORING else 1
        )
        if self._orientation != 1:
            capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        self._reader = CaptureReader(capture)
        self.fps = self._reader.fps
        self.num_frames = self._reader.num_frames
        self._num_read = 0
        self.position_s = 0.0
        self.first = self._read()
        if self.first is None:
            self._reader.close()
            raise SourceUnavailable(
                f"{path}: holds no frame that can be decoded; "
                "expected a video, so convert or copy the file again"
            )
        self.size_hw = self.first.image.shape[0], self.first.image.shape[1]

    @override
    def read(self) -> Grabbed | None:
        """The next picture; `SourceUnavailable` at the end of a file that is cut off."""
        taken, self.first = (self.first or self._read()), None
        if taken is None:
            self._check_complete()
            return None
        self.position_s = self._position_s() if self._num_read else 0.0
        self._num_read += 1
        return taken

    @override
    def close(self) -> None:
        self._reader.close()

    def _position_s(self) -> float:
        if self._reader.position_s > self.position_s:
            return self._reader.position_s
        # Some files have no time of their last frames.
        return self.position_s + (1 / self.fps if self.fps else 0.0)

    def _read(self) -> Grabbed | None:
        taken = self._reader.read()
        if taken is None or self._orientation == 1:
            return taken
        return taken._replace(image=upright(taken.image, self._orientation))

    def _check_complete(self) -> None:
        if self.num_frames is None or self._num_read >= self.num_frames or self._holds_its_end():
            return
        raise SourceUnavailable(
            f"{self._path}: ends after {self._num_read} of {self.num_frames} frames, so it is cut "
            "off or damaged; frames up to there were used, copy the file again for the rest"
        )

    def _holds_its_end(self) -> bool:
        whole = holds_its_end(self._path)
        if whole is not None or self.num_frames is None:
            return whole is not False
        # With a variable frame rate the announced count is wrong, but not the last frame's time.
        at_rate = self._reader.position_s * self.fps + 1 if self.fps else 0
        return max(self._num_read, at_rate) >= COMPLETE_SHARE * self.num_frames


def _is_image(path: Path) -> bool:
    """Whether a file is named as an image, or is one; a video of JPEG alone begins as a JPEG."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (suffix not in _JPEG_STREAMS and holds_image(path))


def _open(path: Path) -> cv2.VideoCapture:
    if not path.exists():
        raise SourceUnavailable(f"{path}: no such file")
    if not path.is_file():  # opening a pipe would wait for ever
        raise SourceUnavailable(f"{path}: is a pipe or device, expected a video file")
    if path.stat().st_size == 0:
        raise SourceUnavailable(f"{path}: the file is empty; copy it again")
    if _is_image(path):
        # OpenCV would open it, and continue with all images whose numbers follow.
        raise SourceUnavailable(
            f"{path}: is an image, expected a video; use `ckd-run image` for images"
        )
    capture = open_capture(str(path))
    if capture is None:
        raise SourceUnavailable(
            f"{path}: not a video that OpenCV can read, or cut off before its index; "
            "expected e.g. MP4 or AVI (H.264, MPEG-4, MJPEG), so convert it or copy it again"
        )
    return capture
