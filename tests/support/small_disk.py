"""A disk of a few megabytes, in memory, for tests of full disks."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from services import needs_program, service_missing


@contextmanager
def small_disk(folder: Path, num_mb: int) -> Iterator[Path]:
    """Mount a file system of so many megabytes at ``folder``, for the length of a ``with`` block.

    Skips the test for another user than root; see `service_missing` for a machine without mounts.
    """
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    folder.mkdir()
    mount, unmount = needs_program("mount"), needs_program("umount")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={num_mb * 1_000_000}", "tmpfs", folder],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        service_missing(f"needs a machine that mounts: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([unmount, folder], check=True)
