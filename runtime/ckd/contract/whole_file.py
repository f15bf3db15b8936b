"""Files that are there whole or not at all, whatever happens while they are written."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

#: How the names of files begin while they are being written.
WRITING: Final = ".writing-"


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that a reader gets either all of the old content or all of the new.

    Raises:
        OSError: the file cannot be written; the old content stays.
    """
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of ``path`` at the end, as with `replace_file`.

    It lies beside ``path`` meanwhile. If anything is raised, the old content stays.
    """
    # Not by `tempfile`, whose files only their owner may read.
    written = path.with_name(f"{WRITING}{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with written.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # after a loss of power the finished name holds all bytes
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
