"""A limit on the whole measurement: work that would take too long is not begun, or is stopped."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from ckd.contract.errors import UsageError

#: Seconds between attempts to stop something; releasing what it holds takes less.
STOP_INTERVAL_S: Final = 5.0


class Deadline:
    """A limit on the whole measurement; seconds."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit_s, self._clock, self._start_s = limit_s, clock, clock()

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.limit_s - (self._clock() - self._start_s)

    def check(self, what: str, needed_s: float, share: float = 1.0) -> None:
        """Raise `UsageError` unless a share of the time left is enough for something."""
        if share * self.left_s < needed_s:
            part = "" if share == 1.0 else f", of which it may have {share:.0%}"
            raise UsageError(
                f"no time: {what} would take some {needed_s:.0f} s, {max(self.left_s, 0.0):.0f} s "
                f"of {self.limit_s:.0f} s are left{part}; give it more with --limit"
            )

    @contextlib.contextmanager
    def stopping(self, what: str, share: float) -> Iterator[None]:
        """Stop what runs in the block when it has taken its share of the time left.

        A signal stops it, so this works in the main thread only, and waits for calls that do not
        return to Python. The signal is repeated, because libraries catch every exception while
        they try out kernels. Blocks must not be nested.

        Raises:
            UsageError: the block was stopped.
        """
        seconds = max(share * self.left_s, 0.01)

        def stop(number: int, frame: FrameType | None) -> None:
            raise UsageError(
                f"no time: {what} was stopped after {seconds:.0f} s, {share:.0%} of what was left; "
                "give it more with --limit"
            )

        handler = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, seconds, STOP_INTERVAL_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, handler)
