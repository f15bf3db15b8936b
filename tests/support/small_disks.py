"""Disks of a few megabytes, to be filled: file systems in memory, which root can mount.

Elsewhere these tests are skipped, in CI too: no package gives the right to mount.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from services import needs_program


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[Path]:
    """A file system of that size, such as "2m", in a new folder."""
    mount, unmount = needs_program("mount"), needs_program("umount")
    at.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", at], capture_output=True, text=True
    )
    if made.returncode != 0:
        pytest.skip(f"cannot mount a file system in memory: {made.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run([unmount, at], check=True)


def grow(at: Path, size: str) -> None:
    """Give a `small_disk` another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", at], check=True)


def with_shared_memory(size: str, *command: str | Path) -> list[str]:
    """A command that runs with so little shared memory, as in a container."""
    share = needs_program("unshare")
    script = 'mount -t tmpfs -o size="$0" tmpfs /dev/shm && exec "$@"'
    return [share, "--mount", "sh", "-c", script, size, *map(str, command)]
