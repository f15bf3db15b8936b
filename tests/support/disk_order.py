"""The order in which bytes, syncs and renames reach a disk: what a loss of power would leave.

A disk may keep what was not synced, or lose it, in any order. So whatever gets its final name must
have been synced before, as it is, and the folder of the name afterwards.
"""

import ctypes
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class DiskOrder:
    """Notes what happens within `watched`, and checks it.

    Attributes:
        events: "sync NAME" and "rename NAME", in their order, where NAME ends the path. What is
            temporary is called "*".
    """

    events: list[str] = field(default_factory=list)
    _synced: dict[Path, str] = field(default_factory=dict)  # digest by path
    _unsynced_names: set[Path] = field(default_factory=set)

    def sync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self.events.append(f"sync {shown(path)}")
        self._on_disk(path)

    def sync_all_below(self, descriptor: int) -> int:
        folder = Path(f"/proc/self/fd/{descriptor}").readlink()
        self.events.append("sync disk")
        for path in (folder, *folder.rglob("*")):
            self._on_disk(path)
        return 0

    def rename(self, path: Path, target: Path) -> None:
        self.events.append(f"rename {shown(target)}")
        moved = [path, *path.rglob("*")] if path.is_dir() else [path]
        if path.name.startswith("."):  # not a file that was whole before and goes elsewhere
            for part in moved:
                assert part in self._synced, f"{part} was not synced before it was renamed"
                assert self._synced[part] == digest(part), f"{part} was written to after its sync"
        self._unsynced_names.add(target.parent.resolve())

    def check(self) -> None:
        assert not self._unsynced_names, "names that were given last are not on the disk"

    def _on_disk(self, path: Path) -> None:
        self._synced[path] = digest(path)
        self._unsynced_names.discard(path.resolve())


def digest(path: Path) -> str:
    """Of a file's bytes, or of the names in a folder."""
    if path.is_dir():
        return "/".join(sorted(part.name for part in path.iterdir()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shown(path: Path) -> str:
    if path.is_dir():
        return "folder"
    return "*" if path.name.startswith(".") else path.name


@contextmanager
def watched() -> Iterator[DiskOrder]:
    """Watch every sync and rename of this process; at the end all names must be on the disk."""
    order, fsync = DiskOrder(), os.fsync
    replace, rename = Path.replace, Path.rename

    class System:
        syncfs = staticmethod(order.sync_all_below)

    def synced(descriptor: Any) -> None:
        order.sync(descriptor if isinstance(descriptor, int) else descriptor.fileno())
        fsync(descriptor)

    def replaced(path: Path, target: Any) -> Path:
        order.rename(path, Path(target))
        return replace(path, target)

    def renamed(path: Path, target: Any) -> Path:
        order.rename(path, Path(target))
        return rename(path, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", synced)
        patch.setattr(Path, "replace", replaced)
        patch.setattr(Path, "rename", renamed)
        patch.setattr(ctypes, "CDLL", lambda *about, **settings: System)
        yield order
    order.check()
