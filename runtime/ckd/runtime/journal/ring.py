"""Limits for all runs of a journal together: the oldest segments make room for new ones."""

import errno
from collections import deque
from pathlib import Path
from typing import Final

from ckd.contract.leftovers import sweep
from ckd.runtime.journal.layout import remove_run, runs_in, segments_in
from ckd.runtime.sinks import FreeSpace

#: Segments after which the folder is listed anew: somebody may have removed runs from it.
_LISTED_EVERY: Final = 1000
#: What a file takes beyond its size, in blocks and for its name.
_SPARE_BYTES: Final = 1 << 16


class Ring:
    """Keeps what is below a journal's folder within a limit, and room on its disk.

    It counts segments only: a header takes a kilobyte. The oldest run loses its oldest segment
    first; a run without segments is removed, but for the one that is being written. What killed
    processes had begun to write is removed too.

    Args:
        folder: of the journal, with all its runs.
        own: folder of the run that is being written.
        limit: in bytes.
        min_free_bytes: that stay free on the disk.
    """

    def __init__(self, folder: Path, own: Path, limit: int, min_free_bytes: int = 0) -> None:
        self._folder, self._own, self._limit = folder, own, limit
        self._disk = FreeSpace(own, min_free_bytes)
        self._segments: deque[tuple[Path, int]] = deque()  # with sizes, the oldest first
        self._num_bytes = self._until_listed = 0

    def make_room(self, num_bytes: int) -> None:
        """Remove the oldest segments until one more of that size fits, or none is left.

        What others write to the disk costs the oldest seconds too: a black box holds the newest.

        Raises:
            OSError: a segment cannot be removed, and is named; it stays counted, and the first. Or
                the disk is full of what others wrote.
        """
        if self._until_listed == 0:
            self._list()
            self._until_listed = _LISTED_EVERY
        self._until_listed -= 1
        while self._segments and (
            self._num_bytes + num_bytes > self._limit or self._disk.lack(num_bytes + _SPARE_BYTES)
        ):
            oldest, size = self._segments[0]
            _remove(oldest)
            self._segments.popleft()
            self._num_bytes -= size
            is_last = not self._segments or self._segments[0][0].parent != oldest.parent
            if is_last and oldest.parent != self._own:
                remove_run(oldest.parent)
        if lack := self._disk.lack(num_bytes + _SPARE_BYTES):
            raise OSError(errno.ENOSPC, lack)

    def count(self, path: Path, num_bytes: int) -> None:
        """Take note of a new segment."""
        self._segments.append((path, num_bytes))
        self._num_bytes += num_bytes

    def _list(self) -> None:
        self._segments.clear()
        for run in runs_in(self._folder):
            sweep(run, is_alone=True)  # of processes that were killed; ours has the folder's lock
            segments = segments_in(run)
            if not segments and run != self._own:  # its process was killed before it had one
                remove_run(run)
            for path in segments:
                try:
                    self._segments.append((path, path.stat().st_size))
                except FileNotFoundError:  # somebody has just removed it
                    continue
        self._num_bytes = sum(size for _, size in self._segments)


def _remove(segment: Path) -> None:
    try:
        segment.unlink(missing_ok=True)
    except OSError as error:
        why = f"{segment}: an old segment cannot be removed ({error.strerror})"
        raise OSError(error.errno, why) from error
