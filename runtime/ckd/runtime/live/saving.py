"""Writes frames in a thread of its own, so that no disk holds up the analysis."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ckd.contract.errors import CkdError
from ckd.runtime.closing import Closing
from ckd.runtime.live.view import Saver, Shown


class FrameWriter(Closing):
    """Saves frames one after another.

    Args:
        name: of the thread.
        save: writes a frame.
        say: told what was saved, or why it was not.
    """

    def __init__(self, name: str, save: Saver, say: Callable[[str], None]) -> None:
        self._save, self._say = save, say
        self._failed: Exception | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=name)

    def put(self, shown: Shown) -> None:
        """Save a frame, after those before."""
        self._writer.submit(self._write, shown)

    def close(self) -> None:
        """Wait until all is written. May be called twice."""
        self._writer.shutdown()

    def check(self) -> None:
        """Raise if a frame could not be saved, so that a run in which one was lost ends so.

        Raises:
            CkdError: the last reason why not.
        """
        if self._failed is not None:
            raise CkdError(f"frames are missing: {self._failed}") from self._failed

    def _write(self, shown: Shown) -> None:
        try:
            self._say(f"saved {self._save(shown)}")
        except Exception as error:  # a thread's error would be told to nobody
            self._failed = error
            self._say(f"error: {error}")
