"""Ranges of activations that were measured before, kept between runs."""

import hashlib
import logging
from pathlib import Path

from ckd.runtime.cache import replace_file

_log = logging.getLogger(__name__)


class RangeStore:
    """A folder with one file for each set of ranges; a damaged file counts as missing.

    Args:
        folder: created when the first ranges are saved.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: str) -> str | None:
        """The ranges saved under a key, as ONNX Runtime writes them; None if there are none."""
        try:
            digest, _, ranges = self._path(key).read_text().partition("\n")
        except (OSError, ValueError):
            return None
        return ranges if digest == _digest(key, ranges) else None

    def save(self, key: str, ranges: str) -> None:
        """Keep ranges if they can be written; if not, they are measured again next time."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._path(key), f"{_digest(key, ranges)}\n{ranges}".encode())
        except OSError as error:  # a full or read-only disk
            _log.info("ranges cannot be kept: %s", error)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def _digest(key: str, ranges: str) -> str:
    """SHA-256 of both: ranges of another network would make a wrong one that looks whole."""
    return hashlib.sha256(f"{key}\n{ranges}".encode()).hexdigest()
