"""Drawings as a video that can be cut off at any moment and still plays.

The caller encodes a picture and goes on; a thread writes the file, cluster by cluster, and makes
each last before it takes the next. So a slow disk holds up no analysis, and kill -9 or a loss of
power costs the last second.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from ckd.contract.errors import UsageError
from ckd.picture.encode import JPEG_MAX_SIDE_PX
from ckd.runtime.closing import Closing
from ckd.runtime.sinks.drawn import Drawn
from ckd.runtime.sinks.ffmpeg import FragmentedMp4, ffmpeg_command
from ckd.runtime.sinks.free_space import FreeSpace, time_shown
from ckd.runtime.sinks.matroska import Block
from ckd.runtime.sinks.recording_files import CLUSTER_MS, MatroskaFile, RecordingFile
from ckd.runtime.sinks.recording_state import RecordingState

#: By ending of the file name, how it is written.
_FILES: Final[dict[str, Callable[[Path], RecordingFile]]] = {
    ".mkv": MatroskaFile,
    ".mp4": FragmentedMp4,
}
#: More than this never waits for the disk, and as much again may be under way to it.
_MAX_WAITING_BYTES: Final = 32 * 2**20
#: How often the disk is looked at while nothing comes; otherwise before each write.
_LOOK_AT_DISK_S: Final = 1.0
_log = logging.getLogger(__name__)


class Recorder(Closing):
    """Writes drawings to ``path``, which plays at every moment from its first second on.

    Pictures of another size than the first are fitted into it, and a first one that no JPEG can
    hold into one that it can. When the disk is full, or nearly, the recording ends, playable; what
    is given to it later goes nowhere, and `state` says so.

    Args:
        path: ends in .mkv (Motion JPEG) or .mp4 (H.264, by ffmpeg); must not exist.
        min_free_bytes: that stay free on its disk.
        leaves_out: True for a live source: what the disk is too slow for is left out, and counted.
            Otherwise `write` waits for the disk.
        say: told what ends the recording early, that space is getting short, and that the disk is
            too slow; called in any thread.

    Raises:
        UsageError: the ending is unknown, the file exists, or the folder cannot be written to.
        EnvironmentUnusable: the disk is full already, or MP4 is asked for without ffmpeg.
    """

    def __init__(
        self, path: Path, *, min_free_bytes: int, leaves_out: bool, say: Callable[[str], None]
    ) -> None:
        self.path = path
        check_recordable(path, min_free_bytes)
        self._disk = FreeSpace(path, min_free_bytes)
        self._leaves_out, self._say = leaves_out, say
        self._file = _FILES[path.suffix.lower()](path)
        self._size_hw: tuple[int, int] | None = None  # of the first picture
        self._start_s: float | None = None  # its time
        self._last_ms = -1
        self._changed = threading.Condition()  # guards all below
        self._waiting: list[Block] = []
        self._num_waiting_bytes, self._waits_since_s = 0, 0.0
        self._state = RecordingState(path=path)
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="recording")
        self._thread.start()

    @property
    def state(self) -> RecordingState:
        """How the recording stands."""
        with self._changed:
            return self._state

    def write(self, picture: Drawn, time_s: float) -> None:
        """Append a picture; ``time_s`` is its time by any clock that only goes forward."""
        with self._changed:
            if self._is_full() and not self._leaves_out:
                self._changed.wait_for(lambda: not self._is_full() or self._state.ended_by)
            if self._state.ended_by:
                return
            is_left_out = self._is_full()
            is_first = is_left_out and not self._state.num_left_out
            if is_left_out:
                num_left_out = self._state.num_left_out + 1
                self._state = replace(self._state, num_left_out=num_left_out)
        if is_first:
            self._say(f"{self.path}: the disk is too slow for it, so pictures are left out")
        if is_left_out:
            return
        if self._start_s is None or self._size_hw is None:
            self._start_s, self._size_hw = time_s, _size_hw(picture)
        jpeg = picture.fitted_jpeg(self._size_hw)
        self._last_ms = max(self._last_ms + 1, round(1e3 * (time_s - self._start_s)))
        with self._changed:
            if not self._waiting:
                self._waits_since_s = time.monotonic()
            self._waiting.append((self._last_ms, jpeg))
            self._num_waiting_bytes += len(jpeg)
            self._changed.notify_all()

    def close(self) -> None:
        """Finish the file, or remove it if no picture was written. May be called twice."""
        with self._changed:
            was_closed, self._is_closing = self._is_closing, True
            self._changed.notify_all()
        self._thread.join()
        if not was_closed and self._state.num_pictures == 0:
            self.path.unlink(missing_ok=True)

    # The thread that writes.

    def _run(self) -> None:
        began_s: float | None = None
        try:
            while (blocks := self._due()) is not None:
                if lack := self._disk.lack(sum(len(jpeg) for _, jpeg in blocks)):
                    self._end_early(lack)
                    break
                if blocks:
                    began_s = began_s or time.monotonic()
                    self._write(blocks)
                if began_s is not None:
                    self._tell_time_left(time.monotonic() - began_s)
            self._file.end()
            with self._changed:
                self._state = replace(self._state, num_bytes=self._file.num_bytes)
        except OSError as error:
            self._end_early(error.strerror or str(error))
        except Exception as error:  # a `write` that waits for this thread would wait for ever
            _log.error("a recording failed", exc_info=True)
            self._end_early(type(error).__name__)
        finally:
            self._file.close()

    def _due(self) -> list[Block] | None:
        """Wait for pictures that are to be written; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing, _LOOK_AT_DISK_S)
            if not self._waiting:
                return None if self._is_closing else []
            due_s = self._waits_since_s + self._file.span_s
            self._changed.wait_for(self._is_due, due_s - time.monotonic())
            blocks, self._waiting, self._num_waiting_bytes = self._waiting, [], 0
            self._changed.notify_all()
            return blocks

    def _write(self, blocks: list[Block]) -> None:
        assert self._size_hw is not None
        self._file.write(blocks, self._size_hw)
        with self._changed:
            self._state = replace(
                self._state,
                num_pictures=self._state.num_pictures + len(blocks),
                num_bytes=self._file.num_bytes,
            )

    def _tell_time_left(self, elapsed_s: float) -> None:
        left_s = self._disk.time_left_s(self._file.num_bytes, elapsed_s)
        with self._changed:
            self._state = replace(self._state, time_left_s=left_s)
        if left_s is not None and self._disk.is_news(left_s):
            self._say(
                f"{self.path}: its disk is full in {time_shown(left_s)} at this rate; "
                "then the recording ends, and the analysis goes on"
            )

    def _end_early(self, why: str) -> None:
        with self._changed:
            if self._state.ended_by:
                return  # the index was the next that failed
            self._state = replace(self._state, ended_by=why)
            self._waiting, self._num_waiting_bytes = [], 0
            self._changed.notify_all()
        self._say(f"{self.path}: the recording ends here, the analysis goes on: {why}")

    # With the lock held.

    def _is_full(self) -> bool:
        return self._num_waiting_bytes >= _MAX_WAITING_BYTES

    def _is_due(self) -> bool:
        return (
            self._is_closing
            or self._is_full()
            or self._waiting[-1][0] - self._waiting[0][0] >= CLUSTER_MS
        )


def _size_hw(first: Drawn) -> tuple[int, int]:
    """Rows and columns of a recording: of its first picture, as far as JPEG can have them."""
    height, width = first.image_HWC.shape[:2]
    scale = min(1.0, JPEG_MAX_SIDE_PX / max(height, width))
    return max(1, int(scale * height)), max(1, int(scale * width))


def check_recordable(path: Path, min_free_bytes: int) -> None:
    """Make sure that a recording of this name can be made on this machine.

    Raises:
        UsageError: the ending is unknown.
        EnvironmentUnusable: as `Recorder`.
    """
    ending = path.suffix.lower()
    if ending not in _FILES:
        raise UsageError(f"{path}: expected a name ending in {' or '.join(_FILES)}")
    if ending == ".mp4":
        ffmpeg_command(path.name)
    FreeSpace(path, min_free_bytes).check()
