"""Tables that grow by a row at a time: a row is in all of them, or in none."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ckd.contract.cells import cell
from ckd.contract.disk import naming, sync_folder, sync_together, write_all


class Tables:
    """CSV files of one folder that get a row each at the same time, at once.

    They cannot be replaced as a whole, as they are there to be read while they grow. A kill loses
    no row that was added; a row that a full disk cuts short is taken back from all of them.

    Args:
        folder: of the files; it exists.
        names: of the files; earlier ones are replaced.

    Raises:
        OSError: they cannot be written.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._paths = [folder / name for name in names]
        self._files = [_new(path) for path in self._paths]

    def add(self, *rows: Sequence[object] | None) -> None:
        """Add a row to each table, but where there is None.

        Raises:
            OSError: a table cannot be written, and is named; no table has its row then.
        """
        ends = [file.tell() for file in self._files]
        try:
            for path, file, row in zip(self._paths, self._files, rows, strict=True):
                with naming(path):
                    write_all(file.fileno(), b"" if row is None else _line(row))
        except BaseException:
            for file, end in zip(self._files, ends, strict=True):
                file.truncate(end)
                file.seek(end)
            raise

    def close(self) -> None:
        """Bring the tables, and all names in their folder, to the disk; twice does nothing."""
        if all(file.closed for file in self._files):
            return
        for file in self._files:
            file.close()
        sync_together(self._paths, self._folder)
        sync_folder(self._folder)


def _new(path: Path) -> io.FileIO:
    """An empty file in the place of an earlier one: a link is not followed, a pipe not opened."""
    path.unlink(missing_ok=True)
    return path.open("xb", buffering=0)


def _line(row: Sequence[object]) -> bytes:
    """Names of files may hold any bytes, and what spreadsheets take for formulas."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(map(cell, row))
    return line.getvalue().encode("utf-8", "surrogateescape")
