"""The newest frame of a camera or a stream.

If a slow analysis reads a camera frame by frame, it falls further behind with every frame, because
drivers and FFmpeg queue frames (opencv/opencv#13145). So a thread reads as fast as frames come and
keeps only the newest; it counts the frames that it overwrites.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ckd.contract.errors import SourceUnavailable
from ckd.runtime.sources.frames import Frame, FrameSource, SourceState
from ckd.runtime.sources.opencv import FrameReader, rgb_from_bgr

#: After this time without a frame the state is "no signal", even while a read still blocks.
SILENT_AFTER_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """How to reconnect to a lost source. The defaults give up after about a minute."""

    max_attempts: int = 10
    first_delay_s: float = 0.5
    factor: float = 2.0
    max_delay_s: float = 8.0
    #: Also retry when the first connection fails, which by default is taken for a typing error.
    at_start: bool = False

    def delay_s(self, attempt: int) -> float:
        """Pause before an attempt; the first has number 1."""
        return float(min(self.max_delay_s, self.first_delay_s * self.factor ** (attempt - 1)))


class LatestFrame(FrameSource):
    """Keeps the newest frame of a source, to which a thread connects and reconnects.

    A finite source (a recording) is played at its own speed and ends.

    Args:
        opener: opens the source, or raises `SourceUnavailable`; called in the reader thread, and
            again after a loss.
        name: of the source, for people; without a password.
        reconnect: how to reconnect.
        close_timeout_s: how long `close` waits for the thread.
    """

    def __init__(
        self,
        opener: Callable[[], FrameReader],
        *,
        name: str,
        reconnect: Reconnect | None = None,
        close_timeout_s: float = 10.0,
    ) -> None:
        self.name = name
        self._opener = opener
        self._reconnect = reconnect or Reconnect()
        self._close_timeout_s = close_timeout_s
        self._changed = threading.Condition()  # guards everything below
        self._state: SourceState = "connecting"
        self._detail = ""
        self._error: Exception | None = None
        self._fps: float | None = None
        self._newest: tuple[NDArray[np.uint8], float] | None = None  # not yet taken, BGR
        self._num_grabbed = 0
        self._num_dropped = 0
        self._last_grab_s = 0.0
        self._stop = threading.Event()
        # A daemon thread, so that a driver that never returns cannot keep the program running.
        self._thread = threading.Thread(target=self._run, name=f"capture {name}", daemon=True)
        self._thread.start()

    @property
    @override
    def state(self) -> SourceState:
        with self._changed:
            return "no signal" if self._is_silent() else self._state

    @property
    @override
    def detail(self) -> str:
        with self._changed:
            if self._is_silent():
                return f"no picture for {time.monotonic() - self._last_grab_s:.0f} s"
            return self._detail

    @property
    @override
    def fps(self) -> float | None:
        with self._changed:
            return self._fps

    @property
    @override
    def dropped(self) -> int:
        with self._changed:
            return self._num_dropped

    @override
    def get(self, timeout_s: float | None = None) -> Frame | None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest is not None or self._state in ("ended", "failed"), timeout_s
            )
            if self._newest is None:
                if self._error is not None:
                    raise SourceUnavailable(str(self._error)) from self._error
                return None
            (image_bgr, captured_s), self._newest = self._newest, None
            index = self._num_grabbed - 1
        return Frame(rgb_from_bgr(image_bgr), index, captured_s)  # dropped frames are not converted

    @override
    def close(self) -> None:
        """Stop the thread and release the source, after waiting for a read that is under way."""
        self._stop.set()
        self._thread.join(self._close_timeout_s)
        with self._changed:
            if self._state != "failed":
                self._set_state("ended", "closed")

    # The reader thread.

    def _run(self) -> None:
        try:
            self._keep_connected()
            with self._changed:
                self._set_state("ended", "end of the source")
        except Exception as error:  # `get` raises it in the consumer's thread
            with self._changed:
                self._error = error
                self._set_state("failed", str(error))

    def _keep_connected(self) -> None:
        attempt = 0
        while not self._stop.is_set():
            lost: SourceUnavailable | None = None
            finite = False
            num_before = self._num_grabbed
            try:
                reader = self._opener()
                finite = reader.finite
                try:
                    self._pump(reader)
                finally:
                    reader.close()
            except SourceUnavailable as error:
                lost = error
            if self._stop.is_set() or (finite and lost is None):
                return
            if self._num_grabbed > num_before:
                attempt = 0
            attempt += 1
            self._pause(attempt, lost, finite)

    def _pump(self, reader: FrameReader) -> None:
        started_s = time.monotonic()
        num_read = 0
        while not self._stop.is_set():
            if reader.finite and reader.fps:
                self._stop.wait(started_s + num_read / reader.fps - time.monotonic())
            taken = reader.read()
            if taken is None:
                return
            num_read += 1
            with self._changed:
                self._num_dropped += self._newest is not None
                self._newest = taken
                self._num_grabbed += 1
                self._last_grab_s = taken[1]
                self._fps = reader.fps
                self._set_state("live", "")

    def _pause(self, attempt: int, lost: SourceUnavailable | None, finite: bool) -> None:
        """Wait before the next attempt, or raise `SourceUnavailable` after the last."""
        limit = self._reconnect.max_attempts
        reason = f"{lost}" if lost else f"{self.name}: delivers no picture"
        if finite:
            raise SourceUnavailable(reason)
        if self._num_grabbed == 0 and not self._reconnect.at_start:
            if lost is not None:
                raise lost
            raise SourceUnavailable(
                f"{self.name}: opens, but delivers no picture; "
                "close other programs that use it, or try another source"
            )
        if attempt > limit:
            raise SourceUnavailable(
                f"{self.name}: no signal, gave up after {limit} attempts to reconnect; "
                f"check its power, cable and network, then start again (last: {reason})"
            ) from lost
        delay_s = self._reconnect.delay_s(attempt)
        with self._changed:
            state: SourceState = "no signal" if self._num_grabbed else "connecting"
            self._set_state(state, f"attempt {attempt} of {limit} to reconnect in {delay_s:.1f} s")
        self._stop.wait(delay_s)

    # With the lock held.

    def _set_state(self, state: SourceState, detail: str) -> None:
        self._state = state
        self._detail = detail
        self._changed.notify_all()

    def _is_silent(self) -> bool:
        patience_s = max(SILENT_AFTER_S, 3 / self._fps if self._fps else 0.0)
        return self._state == "live" and time.monotonic() - self._last_grab_s > patience_s
