"""The folder in which `ckd` keeps what it found out about, or built for, this machine."""

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """``CKD_CACHE``, or ``ckd`` in the user's cache."""
    if "CKD_CACHE" in os.environ:
        return Path(os.environ["CKD_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ckd"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that whoever reads it finds all of the old or all of the new.

    Raises:
        OSError: it cannot be written; what was there still is.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
