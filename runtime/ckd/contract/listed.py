"""A folder, or the same tree as a zip file, of which one file lists size and SHA-256 of all others.

A file is read once, checked, and given as bytes, so that exactly the checked bytes are used.
"""

import hashlib
import os
import stat
import zipfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from ckd.contract.errors import BundleError
from ckd.contract.hashes import MAX_HASHES_BYTES, FileRecord, check_names, read_hashes


@dataclass(frozen=True, slots=True)
class Content:
    """A file whose SHA-256 is known, and which is read only when it is needed."""

    sha256: str
    read: Callable[[], bytes]

    @classmethod
    def of(cls, content: bytes) -> "Content":
        """Content that is in memory already."""
        return cls(hashlib.sha256(content).hexdigest(), lambda: content)


class ListedFiles:
    """The files of a bundle, whatever their content means.

    Args:
        path: folder or .zip file.
        hashes: name of the list.
        unlisted: names of files that may be there although they are not listed.

    Attributes:
        files: records by name.

    Raises:
        BundleError: there is no such folder or file, or its list is missing or malformed.
    """

    def __init__(self, path: Path, hashes: str, unlisted: Collection[str] = ()) -> None:
        self.path, self._hashes = path, hashes
        self._unlisted = {hashes, *unlisted}
        self._zip: zipfile.ZipFile | None = None
        if path.is_file():
            try:
                self._zip = zipfile.ZipFile(path)
            except Exception as error:  # a damaged index may raise anything
                raise BundleError(f"{path}: neither a bundle folder nor a zip file") from error
            try:
                _check_entries(self._zip.infolist())
            except ValueError as error:
                raise BundleError(f"{path}: {error}; zip the bundle again") from None
        elif not path.is_dir():
            raise BundleError(f"{path}: no such bundle; `ckd-export bundle` makes one")
        listed = self.raw(hashes, MAX_HASHES_BYTES)
        self._digest = hashlib.sha256(listed).hexdigest()
        try:
            self.files = read_hashes(listed)
        except ValueError as error:
            raise BundleError(f"{path}: {hashes} is malformed ({error})") from error

    def read(self, name: str) -> bytes:
        """Content of a file, checked against its record.

        Raises:
            BundleError: the file is not listed, missing, or changed since the bundle was made.
        """
        record = self.record(name)
        content = self.raw(name, record.size)
        if len(content) != record.size or hashlib.sha256(content).hexdigest() != record.sha256:
            raise BundleError(
                f"{self.path}: {name} was changed since the bundle was made (expected "
                f"{record.size} bytes with SHA-256 {record.sha256[:12]}...); "
                "copy or export the bundle again"
            )
        return content

    def content(self, name: str) -> Content:
        """A file that is read later, by `read`; `BundleError` if it is not listed."""
        return Content(self.record(name).sha256, lambda: self.read(name))

    def verify(self) -> None:
        """Read every file; `BundleError` names the first that is missing, changed or not listed."""
        for name in self.files:
            self.read(name)
        self.check_present()

    def check_present(self) -> None:
        """`BundleError` names the first file that is there and not listed."""
        if unlisted := sorted(self._present() - {*self.files, *self._unlisted}):
            raise BundleError(
                f"{self.path}: {unlisted[0]!r} is not listed in {self._hashes}; "
                "delete it from the bundle"
            )

    def copy_to(self, folder: Path, without: Collection[str] = ()) -> None:
        """Write all files but those named into a folder, which is created if missing.

        The list is left out too: it is written when the folder is whole (`write_hashes`).

        Raises:
            BundleError: a file is missing or changed, or a name is that of a file and of a folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.files:
            if name in self._unlisted or name in without:
                continue
            content, path = self.read(name), folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise BundleError(f"{self.path}: {name} is a file and a folder at once") from error

    def digest(self) -> str:
        """SHA-256 of the list, which identifies all content."""
        return self._digest

    def num_bytes(self) -> int:
        """Size of all files together."""
        return sum(record.size for record in self.files.values())

    def record(self, name: str) -> FileRecord:
        """Size and SHA-256 of a file; `BundleError` if it is not listed."""
        if name not in self.files:
            raise BundleError(f"{self.path}: {name} is not listed in {self._hashes}")
        return self.files[name]

    def has(self, name: str) -> bool:
        """Whether there is a file of that name, listed or not."""
        if self._zip is not None:
            return name in self._zip.namelist()
        return (self.path / name).is_file()

    def _present(self) -> set[str]:
        if self._zip is not None:
            return {name for name in self._zip.namelist() if not name.endswith("/")}
        files = (path for path in self.path.rglob("*") if not path.is_dir())
        return {path.relative_to(self.path).as_posix() for path in files}

    def raw(self, name: str, limit: int) -> bytes:
        """At most ``limit`` bytes of a file, not checked, and one more if the file is longer.

        Raises:
            BundleError: it is missing, or cannot be read.
        """
        try:
            if self._zip is not None:
                with self._zip.open(name) as packed:
                    return packed.read(limit + 1)
            path = self.path / name
            if not path.is_file():  # a pipe or device would never end
                raise FileNotFoundError
            with path.open("rb") as file:
                return file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
        except (KeyError, FileNotFoundError):
            raise BundleError(f"{self.path}: {name} is missing; the bundle is incomplete") from None
        except Exception as error:  # a damaged zip may raise anything
            raise BundleError(f"{self.path}: {name} cannot be read ({error})") from error


def _check_entries(entries: Iterable[zipfile.ZipInfo]) -> None:
    """Raise `ValueError` for entries that readers take for different files.

    Those are two of one name, names outside the folder, and what is neither file nor folder. Other
    programs unpack links of a zip file, and what a bundle says must not depend on who reads it.
    """
    names = set()
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{entry.filename!r} is a link or device, expected files")
        if entry.filename in names:
            raise ValueError(f"{entry.filename!r} is there twice")
        names.add(entry.filename)
    check_names(names)
