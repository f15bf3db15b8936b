"""Video files: every frame in order, and an error at the end of a damaged file."""

from pathlib import Path

from typing_extensions import override

from ckd.contract.errors import SourceUnavailable
from ckd.picture.decode import holds_image
from ckd.picture.formats import IMAGE_SUFFIXES
from ckd.runtime.sources.faults import Grabbed
from ckd.runtime.sources.frames import Frame, FrameSource, SourceState
from ckd.runtime.sources.opencv import CaptureReader, FrameReader, open_capture, rgb_from_bgr

#: A file with less than this share of the frames that its header announces was cut off. It is not
#: 1.0, because containers estimate, and edit lists hide frames of clips that a phone trimmed.
COMPLETE_SHARE = 0.9
_JPEG_STREAMS = (".mjpeg", ".mjpg")


class VideoFile(FrameSource):
    """Frames of a video file. None is dropped, however slow the consumer is.

    Iterate once; open the file again for a second pass.

    Raises:
        SourceUnavailable: the file does not exist, is no video or has no frame; `get` raises it
            after the last readable frame if the file is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self._reader = VideoFileReader(path)
        self._num_taken = 0
        self._state: SourceState = "live"

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
        return Frame(rgb_from_bgr(taken.image), self._num_taken - 1, taken.captured_s)

    @override
    def close(self) -> None:
        self._reader.close()
        if self._state == "live":
            self._state = "ended"


class VideoFileReader(FrameReader):
    """Reads a file; the first frame is decoded at once, to check that there is one.

    Raises:
        SourceUnavailable: the file does not exist, is no video or has no frame.
    """

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
        self.size_hw: tuple[int, int] = self.first.image.shape[:2]

    @override
    def read(self) -> Grabbed | None:
        """The next picture; `SourceUnavailable` at the end of a file that is cut off."""
        taken, self.first = (self.first or self._reader.read()), None
        if taken is None:
            self._check_complete()
            return None
        self._num_read += 1
        return taken

    @override
    def close(self) -> None:
        self._reader.close()

    def _check_complete(self) -> None:
        if self.num_frames is None or self._num_read >= COMPLETE_SHARE * self.num_frames:
            return
        # With a variable frame rate the announced count is wrong, but not the last frame's time.
        if self.fps and self._reader.position_s * self.fps >= COMPLETE_SHARE * self.num_frames - 1:
            return
        raise SourceUnavailable(
            f"{self._path}: ends after {self._num_read} of {self.num_frames} frames, so it is cut "
            "off or damaged; frames up to there were used, copy the file again for the rest"
        )


def _is_image(path: Path) -> bool:
    """Whether a file is named as an image, or is one; a video of JPEG alone begins as a JPEG."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (suffix not in _JPEG_STREAMS and holds_image(path))


def _open(path: Path) -> CaptureReader:
    if path.is_dir():
        raise SourceUnavailable(f"{path}: is a folder, expected a video file")
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
    return CaptureReader(capture)
