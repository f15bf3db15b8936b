"""The newest frame of a camera or a stream.

If a slow analysis reads a camera frame by frame, it falls further behind with every frame, because
drivers and FFmpeg queue frames (opencv/opencv#13145). So a thread reads as fast as frames come and
keeps only the newest; it counts the frames that it overwrites, and those that must not be analysed.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from ckd.contract.errors import SourceUnavailable
from ckd.runtime.sources.faults import FaultCounter, FaultKind, FrameFault, Grabbed
from ckd.runtime.sources.frames import Frame, FrameSource, SourceState
from ckd.runtime.sources.names import InputNames
from ckd.runtime.sources.opencv import FrameReader, rgb_of
from ckd.runtime.sources.whole import check_frame_size

#: After this time without a whole frame the state is "no signal", even while a read still blocks.
#: For a camera with fewer frames than three in this time it is three of its intervals.
SILENT_AFTER_S = 1.2


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
        recording: the file that is played, which has a label in place of its name.
        reconnect: how to reconnect.
        close_timeout_s: how long `close` waits for the thread.
        interrupt: called by `close`: ends what the opener or a reader of its waits for.
    """

    def __init__(
        self,
        opener: Callable[[], FrameReader],
        *,
        name: str,
        recording: Path | None = None,
        reconnect: Reconnect | None = None,
        close_timeout_s: float = 10.0,
        interrupt: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._names = InputNames([] if recording is None else [recording], are_hidden=True)
        self._opener = opener
        self._reconnect = reconnect or Reconnect()
        self._close_timeout_s = close_timeout_s
        self._interrupt = interrupt
        self._changed = threading.Condition()  # guards everything below
        self._state: SourceState = "connecting"
        self._detail = ""
        self._error: Exception | None = None
        self._fps: float | None = None
        self._newest: Grabbed | None = None  # not yet taken
        self._has_arrived = False  # a frame, whole or not
        self._faults = FaultCounter()
        self._unusable = ""  # why the last frame could not be used, until one can
        self._num_grabbed = 0
        self._num_dropped = 0
        self._last_grab_s = 0.0
        self._stop = threading.Event()
        # A daemon thread, so that a driver that never returns cannot keep the program running.
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    @cached_property
    @override
    def label(self) -> str:
        return self._names.shown(1) if self._names.files else self.name

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
                silent_s = time.monotonic() - self._last_grab_s
                why = f"; what arrives: {self._unusable}" if self._unusable else ""
                return f"no picture for {silent_s:.0f} s{why}"
            if self._state == "connecting" and self._unusable:
                return f"no picture that can be used yet; what arrives: {self._unusable}"
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

    @property
    @override
    def faults(self) -> Mapping[FaultKind, int]:
        with self._changed:
            return self._faults.counts

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
            grabbed, self._newest = self._newest, None
            index = self._num_grabbed - 1
        # Here, so that dropped frames are not converted.
        image_HWC = rgb_of(grabbed)
        return Frame(image_HWC, index, grabbed.captured_s, grabbed.jpeg)

    @override
    def close(self) -> None:
        """Stop the thread and release the source, after waiting for a read that is under way."""
        self._stop.set()
        if self._interrupt is not None:
            self._interrupt()
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
                self._set_state("failed", self._names.hidden(str(error)))

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
        with self._changed:
            self._faults.reconnected()
        while not self._stop.is_set():
            if reader.finite and reader.fps:
                self._stop.wait(started_s + num_read / reader.fps - time.monotonic())
            try:
                grabbed = reader.read()
                if grabbed is None:
                    return
                height, width = grabbed.image.shape[:2]
                check_frame_size(height, width, grabbed.captured_s)
            except FrameFault as fault:
                with self._changed:
                    self._has_arrived = True
                    self._faults.unusable(fault)
                    self._unusable = str(fault)
            else:
                with self._changed:
                    self._keep(grabbed, reader)
            num_read += 1

    def _pause(self, attempt: int, lost: SourceUnavailable | None, finite: bool) -> None:
        """Wait before the next attempt, or raise `SourceUnavailable` after the last."""
        limit = self._reconnect.max_attempts
        reason = f"{lost}" if lost else f"{self.name}: delivers no picture"
        if finite:
            raise SourceUnavailable(reason)
        if not self._has_arrived and not self._reconnect.at_start:
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

    def _keep(self, grabbed: Grabbed, reader: FrameReader) -> None:
        if not reader.finite:
            self._faults.usable(grabbed)
        self._num_dropped += self._newest is not None
        self._newest = grabbed
        self._num_grabbed += 1
        self._has_arrived = True
        self._last_grab_s = grabbed.captured_s
        self._fps = reader.fps
        self._unusable = ""
        self._set_state("live", "")

    def _set_state(self, state: SourceState, detail: str) -> None:
        self._state = state
        self._detail = detail
        self._changed.notify_all()

    def _is_silent(self) -> bool:
        interval_s = self._faults.expected_s or (1 / self._fps if self._fps else 0.0)
        patience_s = max(SILENT_AFTER_S, 3 * interval_s)
        return self._state == "live" and time.monotonic() - self._last_grab_s > patience_s
