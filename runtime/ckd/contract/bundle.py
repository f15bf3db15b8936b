"""A bundle on disk: a folder, or the same tree as a zip file.

`hashes.json` lists size and SHA-256 of every other file. A file is read once, checked, and given as
bytes, so that exactly the checked bytes are used.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ckd.contract.cascade_json import spec_from_json
from ckd.contract.errors import BundleError, UsageError
from ckd.contract.hashes import HASHES, MAX_HASHES_BYTES, FileRecord, read_hashes
from ckd.contract.spec import CascadeSpec

CASCADE: Final = "cascade.json"
#: Lists the files of bundles of schema 1, in place of `hashes.json`.
_SCHEMA_1: Final = "MANIFEST.json"


@dataclass(frozen=True, slots=True)
class Content:
    """A file whose SHA-256 is known, and which is read only when it is needed."""

    sha256: str
    read: Callable[[], bytes]

    @classmethod
    def of(cls, content: bytes) -> "Content":
        """Content that is in memory already."""
        return cls(hashlib.sha256(content).hexdigest(), lambda: content)


class Bundle:
    """A bundle opened for reading.

    Args:
        path: folder or .zip file.

    Raises:
        BundleError: the bundle is missing, altered or not understood, or it lacks `hashes.json` or
            `cascade.json`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_file():
            try:
                self._zip = zipfile.ZipFile(path)
            except Exception as error:  # a damaged index may raise anything
                raise BundleError(f"{path}: neither a bundle folder nor a zip file") from error
        elif not path.is_dir():
            raise BundleError(f"{path}: no such bundle; `ckd-export bundle` makes one")
        listed = self._raw(HASHES, MAX_HASHES_BYTES)
        self._digest = hashlib.sha256(listed).hexdigest()
        try:
            self.files = read_hashes(listed)
        except ValueError as error:
            raise BundleError(f"{path}: {HASHES} is malformed ({error})") from error
        self.spec: CascadeSpec = spec_from_json(self.read(CASCADE))
        for node in self.spec.nodes:
            for file in node.files.values():
                self._record(file)

    def read(self, name: str) -> bytes:
        """Content of a file, checked against its record.

        Raises:
            BundleError: the file is not listed, missing, or changed since the bundle was made.
        """
        record = self._record(name)
        content = self._raw(name, record.size)
        if len(content) != record.size or hashlib.sha256(content).hexdigest() != record.sha256:
            raise BundleError(
                f"{self.path}: {name} was changed since the bundle was made (expected "
                f"{record.size} bytes with SHA-256 {record.sha256[:12]}...); "
                "copy or export the bundle again"
            )
        return content

    def content(self, name: str) -> Content:
        """A file that is read later, by `read`; `BundleError` if it is not listed."""
        return Content(self._record(name).sha256, lambda: self.read(name))

    def verify(self) -> None:
        """Read every file; `BundleError` names the first that is missing, changed or not listed."""
        for name in self.files:
            self.read(name)
        if unlisted := sorted(self._present() - {*self.files, HASHES}):
            raise BundleError(
                f"{self.path}: {unlisted[0]!r} is not listed in {HASHES}; delete it from the bundle"
            )

    @property
    def id(self) -> str:
        """Name and first digits of the digest, for people."""
        return f"{self.spec.name}@{self.digest()[:12]}"

    def digest(self) -> str:
        """SHA-256 of `hashes.json`, which identifies all content."""
        return self._digest

    def num_bytes(self) -> int:
        """Size of all files together."""
        return sum(record.size for record in self.files.values())

    def _record(self, name: str) -> FileRecord:
        if name not in self.files:
            raise BundleError(f"{self.path}: {name} is not listed in {HASHES}")
        return self.files[name]

    def _present(self) -> set[str]:
        if self._zip is not None:
            return {name for name in self._zip.namelist() if not name.endswith("/")}
        files = (path for path in self.path.rglob("*") if not path.is_dir())
        return {path.relative_to(self.path).as_posix() for path in files}

    def _raw(self, name: str, limit: int) -> bytes:
        """At most ``limit`` bytes of a file, and one more if the file is longer."""
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
            if name == HASHES and _SCHEMA_1 in self._present():
                raise BundleError(
                    f"{self.path}: made by an older version of ckd (schema 1); "
                    f"`ckd-export upgrade {self.path} --out NEW` makes one of it that can be read"
                ) from None
            raise BundleError(f"{self.path}: {name} is missing; the bundle is incomplete") from None
        except Exception as error:  # a damaged zip may raise anything
            raise BundleError(f"{self.path}: {name} cannot be read ({error})") from error


def check_new(out: Path) -> None:
    """Raise `UsageError` if the path of a new bundle is taken."""
    if out.exists():
        raise UsageError(f"{out} exists; name another folder or remove it")


def move_new(folder: Path, out: Path) -> None:
    """Rename a finished folder, on the same disk; `UsageError` if the name is taken by now."""
    try:
        folder.rename(out)
    except OSError as error:
        if out.exists():
            raise UsageError(f"{out} was made by another process meanwhile; remove it") from error
        raise
