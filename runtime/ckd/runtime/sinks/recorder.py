"""Drawn frames as a video file that plays at the pace at which they were captured.

OpenCV writes constant frame rates only, and a live analysis does not keep one. So the rate is that
of the source (for a file, each frame once), or it is measured over the first frames; then each
frame is repeated or left out so that playing time follows the clock.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.runtime.closing import Closing
from ckd.runtime.sources.opencv import open_capture, quiet_opencv

#: By ending of the file name, the codecs to try (FourCC). H.264 (avc1) plays everywhere, but OpenCV
#: from PyPI cannot write it; MPEG-4 (mp4v) always can be written, and plays in VLC and mpv but not
#: in browsers.
CODECS = {
    ".mp4": ("avc1", "mp4v"),
    ".mov": ("avc1", "mp4v"),
    ".mkv": ("avc1", "mp4v"),
    ".avi": ("MJPG",),
}
#: Frames kept in memory until the rate is measured.
_NUM_MEASURED = 8
_MIN_FPS, _MAX_FPS = 1.0, 60.0
#: A longer silence of the source is cut to this, or an hour's gap would be an hour of one picture.
_MAX_GAP_S = 2.0


class Recorder(Closing):
    """Writes RGB frames to ``path``; the playable file appears there when the recorder is closed.

    Until then it has the name ``<stem>.part<ending>``, so that an interrupted program leaves no
    broken recording under the final name. `abandon` keeps the name of the part. Frames of another
    size than the first are resized.

    Args:
        path: ends in .mp4, .mov, .mkv or .avi; must not exist.
        fps: rate at which each frame is written once; None to follow the clock.
        codecs: FourCC codes to try in this order; by default those of the ending in `CODECS`.

    Raises:
        UsageError: the ending is unknown, the file exists, or the folder cannot be written to.
    """

    def __init__(
        self, path: Path, *, fps: float | None = None, codecs: Sequence[str] | None = None
    ) -> None:
        _check_ending(path)
        self.path = path
        self._codecs = codecs or CODECS[path.suffix.lower()]
        self.num_written = 0
        self._part = path.with_name(f"{path.stem}.part{path.suffix}")
        self._fps = fps
        self._follows_clock = fps is None
        self._held: list[tuple[NDArray[np.uint8], float]] = []  # BGR, until the rate is known
        self._writer: cv2.VideoWriter | None = None
        self._size_wh = (0, 0)
        self._start_s = 0.0  # captured_s that corresponds to the first frame of the file
        _check_target(path, self._part)

    def write(self, image_HWC: NDArray[np.uint8], captured_s: float) -> None:
        """Append a frame; ``captured_s`` is its time by the monotonic clock."""
        image_bgr = np.asarray(cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR), dtype=np.uint8)
        if self._writer is not None:
            self._append(image_bgr, captured_s)
            return
        self._held.append((image_bgr, captured_s))
        if not self._follows_clock or len(self._held) == _NUM_MEASURED:
            self._begin()

    def close(self) -> Path | None:
        """Finish the file; gives its path, or None when no frame was written. May be called twice.

        Raises:
            EnvironmentUnusable: no codec, or the file did not come out playable (a full disk).
        """
        if self._finish_part():
            self._part.replace(self.path)
        return self.path if self.num_written else None

    def abandon(self) -> Path | None:
        """End an unfinished recording, in place of `close`; its part is playable and stays.

        Returns:
            The part; None when no frame was written.

        Raises:
            EnvironmentUnusable: as `close`.
        """
        self._finish_part()
        return self._part if self.num_written else None

    def _finish_part(self) -> bool:
        """Make the part playable, or remove an empty one; True if the part is to be renamed."""
        if self._held:
            self._begin()
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            # OpenCV reports no write errors, so try to read the file.
            written = open_capture(str(self._part))
            if written is None:
                self._part.unlink(missing_ok=True)
                raise EnvironmentUnusable(
                    f"{self.path}: the recording cannot be played back; is the disk full?"
                )
            written.release()
            return True
        if self.num_written == 0:
            self._part.unlink(missing_ok=True)
        return False

    def _begin(self) -> None:
        if self._fps is None:
            self._fps = _measured_fps([captured_s for _, captured_s in self._held])
        first_bgr, self._start_s = self._held[0]
        self._size_wh = (first_bgr.shape[1], first_bgr.shape[0])
        self._writer = _open_writer(self._part, self._codecs, self._fps, self._size_wh)
        held, self._held = self._held, []
        for image_bgr, captured_s in held:
            self._append(image_bgr, captured_s)

    def _append(self, image_bgr: NDArray[np.uint8], captured_s: float) -> None:
        assert self._writer is not None
        assert self._fps is not None
        num_copies = 1
        if self._follows_clock:
            num_copies = round((captured_s - self._start_s) * self._fps) + 1 - self.num_written
            excess = num_copies - round(_MAX_GAP_S * self._fps)
            if excess > 0:
                num_copies -= excess
                self._start_s += excess / self._fps
        if num_copies > 0 and image_bgr.shape[1::-1] != self._size_wh:
            # OpenCV would silently leave such a frame out.
            resized = cv2.resize(image_bgr, self._size_wh, interpolation=cv2.INTER_AREA)
            image_bgr = np.asarray(resized, dtype=np.uint8)
        for _ in range(num_copies):
            self._writer.write(image_bgr)
            self.num_written += 1


def _measured_fps(captured_s: list[float]) -> float:
    """From the median interval, which one late frame hardly changes; 10 for a single frame."""
    intervals_s = np.diff(captured_s)
    if intervals_s.size == 0 or (typical_s := float(np.median(intervals_s))) <= 0:
        return 10.0
    # Two decimals, because MPEG-4 keeps time in units of 1/65535 s at best.
    return float(np.clip(round(1 / typical_s, 2), _MIN_FPS, _MAX_FPS))


def _check_ending(path: Path) -> None:
    if path.suffix.lower() not in CODECS:
        raise UsageError(f"{path}: expected a name ending in {', '.join(CODECS)}")


def _check_target(path: Path, part: Path) -> None:
    if path.exists():
        raise UsageError(f"{path}: exists already; delete it or choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"")
    except OSError as error:
        raise UsageError(
            f"{path}: cannot record there ({error.strerror}); choose another folder"
        ) from error


def _open_writer(
    part: Path, codecs: Sequence[str], fps: float, size_wh: tuple[int, int]
) -> cv2.VideoWriter:
    quiet_opencv()
    for codec in codecs:
        writer = cv2.VideoWriter(os.fspath(part), cv2.VideoWriter.fourcc(*codec), fps, size_wh)
        if writer.isOpened():
            return writer
        writer.release()
    part.unlink(missing_ok=True)
    raise EnvironmentUnusable(
        f"{part.name}: this OpenCV can write none of the codecs {', '.join(codecs)}; "
        "record to a name ending in .avi, or install opencv-python-headless from PyPI"
    )
