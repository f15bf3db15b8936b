"""What waits to be written: a queue that is limited in bytes, so that memory does not grow."""

import threading
import time
from collections import deque
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Backlog(Generic[_Item]):
    """Hands items from the thread that analyses to the one that writes.

    Args:
        limit: bytes that may wait. An item that is larger alone is taken if nothing else waits, and
            one of no bytes always.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()  # guards everything below
        self._items: deque[tuple[_Item, int]] = deque()
        self._num_bytes = 0
        self._is_closed = False

    def put(self, item: _Item, num_bytes: int, *, waits: bool = False) -> bool:
        """Add an item; False if it does not fit.

        Args:
            item: to be written.
            num_bytes: that it takes in memory.
            waits: wait until it fits, or until the backlog is closed.
        """
        with self._changed:
            if waits:
                self._changed.wait_for(lambda: self._is_closed or self._fits(num_bytes))
            if self._is_closed or not self._fits(num_bytes):
                return False
            self._items.append((item, num_bytes))
            self._num_bytes += num_bytes
            self._changed.notify_all()
            return True

    def get(self, until_s: float | None = None) -> _Item | None:
        """The next item, which then no longer counts; None if there is none in time.

        Args:
            until_s: by the monotonic clock. Without it this waits until there is an item, or until
                the backlog is closed and empty.
        """
        with self._changed:
            timeout_s = None if until_s is None else max(0.0, until_s - time.monotonic())
            self._changed.wait_for(lambda: self._items or self._is_closed, timeout_s)
            if not self._items:
                return None
            item, num_bytes = self._items.popleft()
            self._num_bytes -= num_bytes
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Take no more items; those that wait can still be got."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _fits(self, num_bytes: int) -> bool:
        return num_bytes == 0 or not self._items or self._num_bytes + num_bytes <= self._limit
