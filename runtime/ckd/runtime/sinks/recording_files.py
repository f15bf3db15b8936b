"""The file of a recording: Motion JPEG in Matroska, which needs no other program."""

import os
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

from typing_extensions import override

from ckd.contract.disk import lasting_folder, sync_folder, write_all
from ckd.contract.errors import UsageError
from ckd.runtime.closing import Closing
from ckd.runtime.sinks.matroska import Block, Ended, cluster, cues, head

#: A cluster holds at most the pictures of so many milliseconds.
CLUSTER_MS: Final = 1000


class RecordingFile(Closing):
    """Where pictures are written to; one thread uses it.

    Attributes:
        span_s: how long pictures may be held back before they are written.
        num_bytes: of the file so far.
    """

    span_s: ClassVar[float]
    num_bytes = 0

    @abstractmethod
    def write(self, blocks: Sequence[Block], size_hw: tuple[int, int]) -> None:
        """Append pictures of one size, and make last what the file holds of them by then.

        Raises:
            OSError: they cannot be written; what was written before stays playable.
        """

    @abstractmethod
    def end(self) -> None:
        """All pictures are written; `OSError` if that cannot be noted in the file."""


class MatroskaFile(RecordingFile):
    """Appends to a Matroska file, and makes every write last before it returns.

    Raises:
        UsageError: the file exists, or cannot be made.
    """

    span_s = 0.8  # with the write itself, less than a second is lost by a cut

    def __init__(self, path: Path) -> None:
        self._file = create(path)
        self._places: list[tuple[int, int]] = []  # of the clusters, see `cues`
        self._size_hw = (0, 0)
        self._num_pictures, self._last_ms = 0, 0

    @override
    def write(self, blocks: Sequence[Block], size_hw: tuple[int, int]) -> None:
        num_pictures, last_ms = self._num_pictures + len(blocks), blocks[-1][0]
        content, places = bytearray(), []
        if not self._places:
            self._size_hw = size_hw
            content += head(*size_hw, mean_interval_ms(num_pictures, last_ms))
        for group in groups(blocks):
            places.append((group[0][0], self.num_bytes + len(content)))
            content += cluster(group)
        self._append(content)
        self._places += places
        self._num_pictures, self._last_ms = num_pictures, last_ms

    @override
    def end(self) -> None:
        if not self._places:
            return
        interval_ms = mean_interval_ms(self._num_pictures, self._last_ms)
        ended = Ended(round(self._last_ms + interval_ms), self.num_bytes)
        self._append(cues(self._places))
        os.pwrite(self._file, head(*self._size_hw, interval_ms, ended), 0)
        os.fsync(self._file)

    @override
    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, content: bytes | bytearray) -> None:
        try:
            write_all(self._file, content)
            os.fsync(self._file)
        except OSError:
            with suppress(OSError):  # of a cluster that is not whole nothing is left
                os.ftruncate(self._file, self.num_bytes)
                os.lseek(self._file, 0, os.SEEK_END)
            raise
        check_still_there(self._file)
        self.num_bytes += len(content)


def groups(blocks: Sequence[Block]) -> list[list[Block]]:
    """The pictures cluster by cluster, as `CLUSTER_MS` says."""
    made: list[list[Block]] = []
    for block in blocks:
        if not made or block[0] - made[-1][0][0] >= CLUSTER_MS:
            made.append([])
        made[-1].append(block)
    return made


def check_still_there(file: int) -> None:
    """Raise `OSError` if somebody has removed an open file: what is written into it is lost."""
    if os.name != "nt" and os.fstat(file).st_nlink == 0:
        raise OSError(None, "somebody has removed its file")


def mean_interval_ms(num_pictures: int, last_ms: int) -> float:
    """From one picture to the next, for the head; a single picture is shown for a second."""
    return last_ms / (num_pictures - 1) if num_pictures > 1 else 1000.0


def create(path: Path) -> int:
    """Make an empty file that did not exist, in a folder that is made if need be; open for writing.

    Its name, too, survives a loss of power.

    Raises:
        UsageError: it exists, or cannot be made.
    """
    if os.path.lexists(path):
        raise UsageError(
            f"{path}: exists already, and a recording replaces nothing; choose another name"
        )
    made = -1
    try:
        lasting_folder(path.parent)
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        sync_folder(path.parent)
    except OSError as error:
        if made >= 0:
            os.close(made)
            path.unlink()
        raise UsageError(
            f"{path}: cannot record there ({error.strerror}); choose another folder"
        ) from error
    return made
