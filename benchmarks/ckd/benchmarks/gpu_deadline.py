"""A limit on the whole measurement: what would be too long is not begun, or stopped."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

from ckd.contract.errors import UsageError


class Deadline:
    """A limit on the whole measurement; seconds."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit_s, self._clock, self._start_s = limit_s, clock, clock()

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.limit_s - (self._clock() - self._start_s)

    def check(self, what: str, needed_s: float) -> None:
        """Raise `UsageError` unless there is time for something."""
        if self.left_s < needed_s:
            raise UsageError(
                f"no time: {what} takes some {needed_s:.0f} s, {max(self.left_s, 0.0):.0f} s of "
                f"{self.limit_s:.0f} s are left; give it more with --limit"
            )

    @contextlib.contextmanager
    def stopping(self, what: str, share: float) -> Iterator[None]:
        """Stop what runs in the block when it has taken its share of the time left.

        By a signal, so it works in the main thread only, and waits for calls that do not return to
        Python.

        Raises:
            UsageError: it was stopped.
        """
        seconds = max(share * self.left_s, 0.01)

        def stop(number: int, frame: FrameType | None) -> None:
            raise UsageError(
                f"no time: {what} was stopped after {seconds:.0f} s, {share:.0%} of what was left; "
                "give it more with --limit"
            )

        handler = signal.signal(signal.SIGALRM, stop)
        timer = signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, *timer)
            signal.signal(signal.SIGALRM, handler)
