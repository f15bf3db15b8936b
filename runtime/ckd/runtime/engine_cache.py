"""Engines built on this machine, kept for the next start.

An engine is valid only for the machine, the versions and the settings that it was built with. Its
key has all of them; an engine with another key, or with damaged content, is built again. The files
are in ``engines`` of the cache folder, and beside each engine there is its record (see
`ckd.runtime.cache.Store`) with size and SHA-256 of the content. Both are used only if nobody but
this user and root could have written them.
"""

import contextlib
import functools
import hashlib
import logging
import mmap
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ckd.contract.leftovers import WRITING
from ckd.contract.whole_file import replace_file
from ckd.runtime.cache import Record, Store, cache_folder
from ckd.runtime.private import FILE_MODE, NotPrivate, make_private, private_file

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: Size of all engines together; beyond it those used longest ago are removed.
LIMIT_BYTES: Final = 8 << 30
_LOCK_POLL_S: Final = 0.1
#: No process takes so long to write a file: after that it was killed.
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


@dataclass(frozen=True, slots=True)
class EngineFile:
    """The content of an engine's file.

    Attributes:
        content: mapped into memory, where the file is kept. The kernel may drop pages of the map:
            it reads them again when they are needed.
        sha256: of the content.
    """

    content: mmap.mmap | bytes | memoryview
    sha256: str


class EngineCache:
    """A folder of engines.

    Args:
        folder: by default ``engines`` in the cache folder.
        limit_bytes: size of all engines together.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder or cache_folder() / "engines"
        self._records = Store(self.folder)
        self.limit_bytes = limit_bytes

    @contextlib.contextmanager
    def slot(self, key: EngineKey) -> "Iterator[Slot]":
        """The place of a key's engine, which no other process fills until the block ends.

            with cache.slot(key) as slot:
                engine = slot.engine if slot.engine is not None else slot.keep(build())

        If two processes ask at once, one builds the engine and the other waits; it builds another
        one if it wants proof and there is none yet. Where the folder cannot be written, nothing is
        kept, and each process builds for itself.
        """
        path = self.path(key)
        lock = None
        try:
            make_private(self.folder)
            lock = _locked(path)
        except OSError as error:  # without locks nobody can be writing, so reading is safe
            _log.info("engines cannot be kept in %s: %s", self.folder, error)
        try:
            write = None if lock is None else functools.partial(self._write, path, key)
            yield Slot(self._read(path, key), write)
        finally:
            if lock is not None:
                lock.release()

    def find(self, key: EngineKey) -> EngineFile | None:
        """The engine of a key; None if it is missing or damaged."""
        return self._read(self.path(key), key)

    def path(self, key: EngineKey) -> Path:
        """The file of a key's engine, whether it exists or not."""
        return self._records.path(key).with_suffix(".engine")

    def drop(self, key: EngineKey) -> None:
        """Remove the engine of a key, if there is one."""
        self._remove(self.path(key))

    def entries(self) -> list[Entry]:
        """All engines, the one used last first."""
        entries = [self._entry(path) for path in self.folder.glob("*.engine")]
        return sorted((e for e in entries if e is not None), key=lambda entry: -entry.used_s)

    def prune(self, limit_bytes: int = 0) -> int:
        """Remove engines used longest ago until so many bytes are left; gives the bytes freed."""
        freed = self._evict(limit_bytes)
        for path in self._strays():
            freed += path.stat().st_size
            self._remove(path)
        return freed

    def _read(self, path: Path, key: EngineKey) -> EngineFile | None:
        entry = self._entry(path)
        if entry is None:
            if path.exists():
                _log.warning("%s has no record of what it is; building it again", path)
            return None
        if dict(entry.key) != dict(key):
            _log.warning("%s is another engine; building it again", path)
            return None
        try:
            content = _mapped(path)
        except NotPrivate as error:
            _log.warning("%s; building it again", error)
            return None
        except (OSError, ValueError) as error:  # no permission, empty, or just removed
            _log.warning("%s cannot be read (%s); building it again", path, error)
            return None
        if len(content) != entry.size or hashlib.sha256(content).hexdigest() != entry.sha256:
            _log.warning("%s is damaged; building it again", path)
            return None
        with contextlib.suppress(OSError):  # a read-only folder
            os.utime(path)
        return EngineFile(content, entry.sha256)

    def _write(
        self, path: Path, key: EngineKey, content: bytes | memoryview, sha256: str
    ) -> mmap.mmap:
        """Write the engine, then its record: an engine without one counts as missing."""
        _record_path(path).unlink(missing_ok=True)
        replace_file(path, content, FILE_MODE)
        _forget_pages(path)
        if not self._records.write(key, {"size": len(content), "sha256": sha256}):
            path.unlink(missing_ok=True)
            raise OSError(f"the record of {path.name} cannot be written")
        self._evict(self.limit_bytes, keep=path)
        return _mapped(path)

    def _evict(self, limit_bytes: int, keep: Path | None = None) -> int:
        """Remove engines used longest ago beyond a limit, never ``keep``; gives bytes freed."""
        freed = left = 0
        for entry in self.entries():
            left += entry.size
            if left > limit_bytes and entry.path != keep:
                self._remove(entry.path)
                freed += entry.size
        return freed

    def _strays(self) -> Iterator[Path]:
        """Engines without a record, and files that a killed process was writing."""
        for path in self.folder.glob("*.engine"):
            if self._entry(path) is None:
                yield path
        for path in self.folder.glob(f"{WRITING}*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                yield path

    def _remove(self, path: Path) -> None:
        """Remove an engine; a process that has it mapped keeps the content.

        The lock file stays, because other processes may wait for it.
        """
        _record_path(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def _entry(self, path: Path) -> Entry | None:
        """None if an engine has no record, or one that is not understood."""
        record = self._records.record(_record_path(path))
        try:
            return None if record is None else _entry(path, record)
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return None


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one engine, see `EngineCache.slot`.

    Attributes:
        engine: None if it is missing or damaged.
    """

    engine: EngineFile | None
    _write: Callable[[bytes | memoryview, str], mmap.mmap] | None

    def keep(self, content: bytes | memoryview) -> EngineFile:
        """Keep an engine that was built, and give it mapped; where it cannot be kept, as it is."""
        sha256 = hashlib.sha256(content).hexdigest()
        if self._write is not None:
            try:
                return EngineFile(self._write(content, sha256), sha256)
            except OSError as error:
                _log.info("an engine cannot be kept: %s", error)
        return EngineFile(content, sha256)


def _record_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _entry(path: Path, record: Record) -> Entry:
    return Entry(
        path=path,
        key=record.key,
        size=int(record.value["size"]),
        sha256=str(record.value["sha256"]),
        used_s=path.stat().st_mtime,
    )


def _locked(path: Path) -> "BaseFileLock":
    """The lock of an engine's file, once this process has it; `OSError` if it cannot be made."""
    import filelock  # which loads asyncio: only where an engine is built or kept

    lock = filelock.FileLock(path.with_suffix(".lock"), mode=FILE_MODE)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        _log.info("waiting for another process that builds %s", path.name)
        lock.acquire(poll_interval=_LOCK_POLL_S)
    return lock


def _forget_pages(path: Path) -> None:
    """Let the kernel read the file anew from the disk.

    A file that was just written stays in the page cache in large folios, and a map of it gets
    whole folios: each number that is read would keep much around it in the process's memory.
    """
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _mapped(path: Path) -> mmap.mmap:
    with private_file(path) as file:  # a private map: OpenVINO wants memory that could be written
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
