"""A limit for all runs of a journal together: the oldest segments make room for new ones."""

from collections import deque
from pathlib import Path
from typing import Final

from ckd.runtime.journal.layout import remove_run, runs_in, segments_in

#: Segments after which the folder is listed anew: other runs may add to it.
_LISTED_EVERY: Final = 1000


class Ring:
    """Keeps what is below a journal's folder within a limit.

    It counts segments only: a header takes a kilobyte. The oldest run loses its oldest segment
    first; a run that has lost all of them is removed, but for the one that is being written.

    Args:
        folder: of the journal, with all its runs.
        own: folder of the run that is being written.
        limit: in bytes.
    """

    def __init__(self, folder: Path, own: Path, limit: int) -> None:
        self._folder, self._own, self._limit = folder, own, limit
        self._segments: deque[tuple[Path, int]] = deque()  # with sizes, the oldest first
        self._num_bytes = self._until_listed = 0

    def make_room(self, num_bytes: int) -> None:
        """Remove the oldest segments until one more of that size fits, or none is left.

        Raises:
            OSError: a segment cannot be removed.
        """
        if self._until_listed == 0:
            self._list()
            self._until_listed = _LISTED_EVERY
        self._until_listed -= 1
        while self._segments and self._num_bytes + num_bytes > self._limit:
            oldest, size = self._segments.popleft()
            oldest.unlink(missing_ok=True)
            self._num_bytes -= size
            is_last = not self._segments or self._segments[0][0].parent != oldest.parent
            if is_last and oldest.parent != self._own:
                remove_run(oldest.parent)

    def count(self, path: Path, num_bytes: int) -> None:
        """Take note of a new segment."""
        self._segments.append((path, num_bytes))
        self._num_bytes += num_bytes

    def _list(self) -> None:
        self._segments.clear()
        for run in runs_in(self._folder):
            for path in segments_in(run):
                try:
                    self._segments.append((path, path.stat().st_size))
                except FileNotFoundError:  # another run's ring has removed it
                    continue
        self._num_bytes = sum(size for _, size in self._segments)
