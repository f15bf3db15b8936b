"""How much a disk still holds, and for how long that lasts."""

import shutil
from pathlib import Path
from typing import Final

from ckd.contract.errors import EnvironmentUnusable

#: What `--min-free` is unless it is given: room for the system, and for what else is written.
MIN_FREE_BYTES: Final = 500_000_000
#: A disk that is full within this time is warned of.
SOON_S: Final = 600.0
_SAID_S: Final = (SOON_S, 60.0)
#: Before that a recording's rate is not known well.
_MIN_WRITTEN_S: Final = 2.0


def time_shown(left_s: float) -> str:
    """How long space lasts, in words that change once a minute, as some people hear them."""
    return f"about {left_s / 60:.0f} minutes" if left_s >= 90 else "about a minute or less"


class FreeSpace:
    """Watches the disk on which a file grows.

    Args:
        path: of the file; its folder may be missing.
        min_free_bytes: that are to stay free.
    """

    def __init__(self, path: Path, min_free_bytes: int) -> None:
        self._path = path
        self._folder = next(parent for parent in path.absolute().parents if parent.is_dir())
        self._min_free_bytes = min_free_bytes
        self._soon = list(_SAID_S)
        self._free_at_first: int | None = None

    def check(self) -> None:
        """Raise `EnvironmentUnusable` if less is free already."""
        if lack := self.lack():
            raise EnvironmentUnusable(f"{self._path}: cannot record there: {lack}")

    def lack(self, num_bytes: int = 0) -> str:
        """What is missing, in words, for so many bytes more; an empty text if they fit."""
        free_bytes = self._free_bytes()
        if free_bytes - num_bytes >= self._min_free_bytes:
            return ""
        return (
            f"its disk has {_shown(free_bytes)} free, of which --min-free keeps "
            f"{_shown(self._min_free_bytes)}; delete files, or choose another disk"
        )

    def time_left_s(self, num_bytes: int, elapsed_s: float) -> float | None:
        """How long the space lasts if it goes on so; None while that is unknown.

        Args:
            num_bytes: by which the file has grown; others may write on the disk, too.
            elapsed_s: since its first byte.
        """
        free_bytes = self._free_bytes()
        if self._free_at_first is None:
            self._free_at_first = free_bytes
        num_used = max(num_bytes, self._free_at_first - free_bytes)
        if num_used <= 0 or elapsed_s < _MIN_WRITTEN_S:
            return None
        return max(0, free_bytes - self._min_free_bytes) * elapsed_s / num_used

    def is_news(self, left_s: float) -> bool:
        """Whether a time left has to be said now: ten minutes before the end, and one."""
        passed = [time_s for time_s in self._soon if left_s < time_s]
        self._soon = [time_s for time_s in self._soon if time_s not in passed]
        return bool(passed)

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._folder).free


def _shown(num_bytes: int) -> str:
    """Three digits: 21.6 MB, 500 MB, 1 GB."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if num_bytes >= unit or name == "MB":
            break
    return f"{num_bytes / unit:.3g} {name}"
