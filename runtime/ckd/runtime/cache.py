"""The cache folder, and records in it of what was measured or built on this machine.

A record has a value, and a key with all facts that the value depends on; the digest of the key is
the name of the file. So a record that was made under other facts is never read by mistake, and
processes that write at the same time overwrite each other's records only of the same key. Records
that somebody else could have written are not read (`ckd.runtime.private`).
"""

import functools
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ckd.contract.errors import EnvironmentUnusable
from ckd.contract.parsing import parse_json
from ckd.contract.whole_file import replace_file
from ckd.runtime.private import FILE_MODE, NotPrivate, make_private, private_file

#: No record is so large.
_MOST_BYTES: Final = 16 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """One file of a `Store`."""

    path: Path
    key: Mapping[str, Any]
    value: Any


class Store:
    """A folder of records, each a JSON file with a key, a value, and the SHA-256 of both.

    A folder that cannot be written to is no error: its records are only never kept.

    Args:
        folder: created when the first record is written.
        suffix: ending of the file names; stores with different endings can share a folder.
        limit: number of records that are kept; older ones are removed when one is written.
    """

    def __init__(self, folder: Path, suffix: str = ".json", limit: int | None = None) -> None:
        self.folder, self.suffix, self.limit = folder, suffix, limit

    def path(self, key: Mapping[str, Any]) -> Path:
        """The file of a key, whether it exists or not."""
        return self.folder / f"{_digest(dict(key))[:32]}{self.suffix}"

    def read(self, key: Mapping[str, Any]) -> Any | None:
        """The value of a key; None if there is no record of it, or a damaged one."""
        record = self.record(self.path(key))
        return None if record is None or record.key != _plain(key) else record.value

    def write(self, key: Mapping[str, Any], value: Any) -> bool:
        """Keep the value of a key, and say whether it could be kept.

        Key and value hold only what JSON can express.
        """
        path = self.path(key)
        content = {"key": dict(key), "value": value, "sha256": _digest([dict(key), value])}
        try:
            make_private(self.folder)
            replace_file(path, json.dumps(content, indent=1).encode(), FILE_MODE)
            self._make_room(path)
        except OSError as error:  # a full or read-only disk
            _log.info("%s cannot be kept: %s", path, error)
            return False
        return True

    def record(self, path: Path) -> Record | None:
        """The record in a file; None if it is missing, damaged, or not this user's alone."""
        try:
            with private_file(path) as file:
                text = file.read(_MOST_BYTES + 1)
            if len(text) > _MOST_BYTES:
                return None
            content = parse_json(text)
            key, value = content["key"], content["value"]
            if not isinstance(key, dict) or content["sha256"] != _digest([key, value]):
                return None
            return Record(path, key, value)
        except NotPrivate as error:
            _warn_once(str(error))
            return None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def paths(self) -> Iterator[Path]:
        """The files of all records, damaged ones among them."""
        return self.folder.glob(f"*{self.suffix}")

    def records(self) -> Iterator[Record]:
        """All records that can be read."""
        records = map(self.record, self.paths())
        return (record for record in records if record is not None)

    def _make_room(self, newest: Path) -> None:
        if self.limit is None:
            return
        older = [(path.stat().st_mtime, path) for path in self.paths() if path != newest]
        for _, path in sorted(older, reverse=True)[max(self.limit - 1, 0) :]:
            path.unlink(missing_ok=True)


def cache_folder() -> Path:
    """``CKD_CACHE``, or ``ckd`` in the user's cache folder.

    Raises:
        EnvironmentUnusable: the user has no home folder, and no variable names a cache.
    """
    if chosen := os.environ.get("CKD_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "ckd"
    try:
        return Path.home() / ".cache" / "ckd"
    except RuntimeError as error:  # in a container started with a user number it does not know
        raise EnvironmentUnusable(
            "this user has no home folder, in which to keep what was found out or built for this "
            "machine; set CKD_CACHE to a folder, or HOME"
        ) from error


def _plain(key: Mapping[str, Any]) -> dict[str, Any]:
    """As a key comes back from JSON, where tuples are lists."""
    plain: dict[str, Any] = parse_json(json.dumps(dict(key)))
    return plain


def _digest(content: Any) -> str:
    """SHA-256, in which the order of a mapping's names does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@functools.cache
def _warn_once(text: str) -> None:
    """Log what holds for every look at the same file or folder, of which a start has dozens."""
    _log.warning("%s", text)
