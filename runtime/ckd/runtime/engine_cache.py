"""Engines built on this machine, kept for the next start.

An engine holds only for the machine, the versions and the settings that it was built with: its
key has all of them, and a file whose key differs, or whose content is damaged, is built again.
Files lie in ``engines`` of the cache folder, each with what it is in a JSON file beside it.
"""

import contextlib
import hashlib
import json
import logging
import mmap
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import filelock

from ckd.runtime.cache import WRITING, cache_folder, replace_file

#: All engines together; those used longest ago make room.
LIMIT_BYTES: Final = 8 << 30
_LOCK_POLL_S: Final = 0.1
#: Nobody writes a file for so long.
_ABANDONED_S: Final = 3600.0

#: Everything that an engine depends on: content of the network, versions, device, settings.
EngineKey = Mapping[str, str | int]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One engine in the cache."""

    path: Path
    key: EngineKey
    size: int
    sha256: str
    used_s: float  # when it was last used, seconds since 1970


class EngineCache:
    """A folder of engines.

    Args:
        folder: by default ``engines`` in the cache folder.
        limit_bytes: of all engines together.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder or cache_folder() / "engines"
        self.limit_bytes = limit_bytes

    def fetch(
        self, key: EngineKey, build: Callable[[], bytes | memoryview]
    ) -> mmap.mmap | bytes | memoryview:
        """The engine of a key, mapped into memory; built if it is not there or not whole.

        Two processes that ask at once build it once. Where the folder cannot be written, it is
        built and not kept. Pages of the map can be given back: they are read again when needed.

        Raises:
            Whatever ``build`` raises.
        """
        path = self.path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(path.with_suffix(".lock"))
            _acquire(lock, path)
        except OSError as error:  # no lock, so nobody can be writing: what is there may be read
            _log.info("engines cannot be kept in %s: %s", self.folder, error)
            found = self._read(path, key)
            return build() if found is None else found
        try:
            if (found := self._read(path, key)) is not None:
                return found
            content = build()
            try:
                self._write(path, key, content)
                self._evict(self.limit_bytes, keep=path)
                return _mapped(path)
            except OSError as error:
                _log.info("an engine cannot be kept: %s", error)
                return content
        finally:
            lock.release()

    def find(self, key: EngineKey) -> mmap.mmap | None:
        """The engine of a key if it is there and whole."""
        return self._read(self.path(key), key)

    def path(self, key: EngineKey) -> Path:
        """Where the engine of a key lies, or would."""
        facts = json.dumps(dict(key), sort_keys=True)
        return self.folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.engine"

    def drop(self, key: EngineKey) -> None:
        """Remove an engine, if it is there."""
        self._remove(self.path(key))

    def entries(self) -> list[Entry]:
        """All engines, the one used last first."""
        found = [_entry(path) for path in self.folder.glob("*.engine")]
        return sorted((e for e in found if e is not None), key=lambda entry: -entry.used_s)

    def prune(self, limit_bytes: int = 0) -> int:
        """Remove those used longest ago until so many bytes are left; returns bytes freed."""
        freed = self._evict(limit_bytes)
        for path in self._strays():
            freed += path.stat().st_size
            self._remove(path)
        return freed

    def _read(self, path: Path, key: EngineKey) -> mmap.mmap | None:
        entry = _entry(path)
        if entry is None:
            if path.exists():
                _log.warning("%s has no record of what it is; building it again", path)
            return None
        if dict(entry.key) != dict(key):
            _log.warning("%s is another engine; building it again", path)
            return None
        try:
            content = _mapped(path)
        except (OSError, ValueError) as error:  # not ours to read, empty, or just pruned
            _log.warning("%s cannot be read (%s); building it again", path, error)
            return None
        if len(content) != entry.size or hashlib.sha256(content).hexdigest() != entry.sha256:
            _log.warning("%s is damaged; building it again", path)
            return None
        with contextlib.suppress(OSError):  # a read-only folder
            os.utime(path)
        return content

    def _write(self, path: Path, key: EngineKey, content: bytes | memoryview) -> None:
        """The engine, then its record: without one it counts as not there."""
        _record_path(path).unlink(missing_ok=True)
        replace_file(path, content)
        _forget_pages(path)
        record = {
            "key": dict(key),
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        replace_file(_record_path(path), json.dumps(record, indent=1).encode())

    def _evict(self, limit_bytes: int, keep: Path | None = None) -> int:
        """Remove those used longest ago beyond a limit, but never ``keep``; returns bytes freed."""
        freed = left = 0
        for entry in self.entries():
            left += entry.size
            if left > limit_bytes and entry.path != keep:
                self._remove(entry.path)
                freed += entry.size
        return freed

    def _strays(self) -> Iterator[Path]:
        """Nobody knows what they are, or whoever wrote them was killed."""
        for path in self.folder.glob("*.engine"):
            if _entry(path) is None:
                yield path
        for path in self.folder.glob(f"{WRITING}*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                yield path

    def _remove(self, path: Path) -> None:
        """A process that has it mapped keeps it; the lock file stays, others may wait for it."""
        _record_path(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _record_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _entry(path: Path) -> Entry | None:
    """None if the record beside it is missing or not understood."""
    try:
        record: dict[str, Any] = json.loads(_record_path(path).read_text())
        return Entry(
            path=path,
            key=dict(record["key"]),
            size=int(record["size"]),
            sha256=str(record["sha256"]),
            used_s=path.stat().st_mtime,
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _acquire(lock: filelock.BaseFileLock, path: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        _log.info("waiting for another process that builds %s", path.name)
        lock.acquire(poll_interval=_LOCK_POLL_S)


def _forget_pages(path: Path) -> None:
    """Let the kernel read the file anew from the disk.

    What was written at once stays in memory in large pieces, and comes into a map in these: each
    number that is read would keep all its neighbourhood in a process's memory.
    """
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:  # private: OpenVINO wants memory that could be written
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
