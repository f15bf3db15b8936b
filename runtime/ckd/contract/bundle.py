"""A bundle on disk: a folder, or the same tree zipped, whose every byte is accounted for.

`MANIFEST.json` lists size and SHA-256 of every other file. Files are read once, checked, and handed
on as bytes, so what was checked is what is used.
"""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from ckd.contract.errors import BundleError
from ckd.contract.manifest import Manifest, manifest_from_json

CASCADE: Final = "cascade.json"
HASHES: Final = "MANIFEST.json"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size in bytes and SHA-256 of one file of a bundle."""

    size: int
    sha256: str


class Bundle:
    """A bundle opened for reading.

    Args:
        path: folder or .zip file.

    Raises:
        BundleError: missing, without `MANIFEST.json` or `cascade.json`, altered, or not understood.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_file():
            try:
                self._zip = zipfile.ZipFile(path)
            except zipfile.BadZipFile:
                raise BundleError(f"{path}: neither a bundle folder nor a zip file") from None
        elif not path.is_dir():
            raise BundleError(f"{path}: no such bundle; `ckd-export bundle` makes one")
        try:
            records = json.loads(self._raw(HASHES))
            self.files = {
                name: FileRecord(int(record["size"]), str(record["sha256"]))
                for name, record in records.items()
            }
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path}: {HASHES} is malformed ({error})") from error
        self.manifest: Manifest = manifest_from_json(self.read(CASCADE))
        for node in self.manifest.nodes:
            for file in node.files.values():
                self._record(file)

    def read(self, name: str) -> bytes:
        """Content of a file, checked against its record.

        Raises:
            BundleError: not listed, missing, or changed since the bundle was made.
        """
        record = self._record(name)
        content = self._raw(name)
        if len(content) != record.size or hashlib.sha256(content).hexdigest() != record.sha256:
            raise BundleError(
                f"{self.path}: {name} was changed since the bundle was made "
                f"({len(content)} bytes, expected {record.size} with SHA-256 "
                f"{record.sha256[:12]}...); copy or export the bundle again"
            )
        return content

    def verify(self) -> None:
        """Read every file; `BundleError` names the first that is missing or changed."""
        for name in self.files:
            self.read(name)

    def digest(self) -> str:
        """One SHA-256 that identifies all content."""
        return hashlib.sha256(self._raw(HASHES)).hexdigest()

    def num_bytes(self) -> int:
        """Size of all files together."""
        return sum(record.size for record in self.files.values())

    def _record(self, name: str) -> FileRecord:
        if name not in self.files:
            raise BundleError(f"{self.path}: {name} is not listed in {HASHES}")
        return self.files[name]

    def _raw(self, name: str) -> bytes:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            raise BundleError(f"{self.path}: {name!r} points outside the bundle")
        try:
            if self._zip is not None:
                return self._zip.read(name)
            return (self.path / name).read_bytes()
        except (KeyError, FileNotFoundError):
            raise BundleError(f"{self.path}: {name} is missing; the bundle is incomplete") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise BundleError(f"{self.path}: {name} cannot be read ({error})") from error


def write_hashes(folder: Path) -> None:
    """Write `MANIFEST.json` for every other file in a folder: the last step of making a bundle."""
    records = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != HASHES:
            content = path.read_bytes()
            records[name] = {
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
    (folder / HASHES).write_text(json.dumps(records, indent=2) + "\n")
