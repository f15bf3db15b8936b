"""The folder in which `ckd` keeps what it found out about, or built for, this machine."""

import os
import secrets
from pathlib import Path
from typing import Final

from ckd.contract.errors import EnvironmentUnusable

#: How the names of files begin that are being written.
WRITING: Final = ".writing-"


def cache_folder() -> Path:
    """``CKD_CACHE``, or ``ckd`` in the user's cache.

    Raises:
        EnvironmentUnusable: nobody knows where the user's is.
    """
    if chosen := os.environ.get("CKD_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "ckd"
    try:
        return Path.home() / ".cache" / "ckd"
    except RuntimeError as error:  # in a container started with the number of a user it has not
        raise EnvironmentUnusable(
            "this user has no home folder, in which to keep what was found out or built for this "
            "machine; set CKD_CACHE to a folder, or HOME"
        ) from error


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that whoever reads it finds all of the old or all of the new.

    Raises:
        OSError: it cannot be written; what was there still is.
    """
    # Not by `tempfile`, whose files only their owner may read: a cache may be shared.
    written = path.with_name(f"{WRITING}{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with written.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a loss of power leaves no hole under a finished name
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
