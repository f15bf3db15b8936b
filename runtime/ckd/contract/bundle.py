"""A bundle on disk: a folder, or the same tree as a zip file, whose files `hashes.json` lists."""

import zipfile
from pathlib import Path
from typing import Final

from ckd.contract.cascade_json import spec_from_json
from ckd.contract.errors import BundleError, UsageError
from ckd.contract.hashes import HASHES, SCHEMA_1_HASHES
from ckd.contract.listed import ListedFiles
from ckd.contract.spec import CascadeSpec

CASCADE: Final = "cascade.json"


class Bundle(ListedFiles):
    """A bundle opened for reading.

    Args:
        path: folder or .zip file.

    Attributes:
        spec: what `cascade.json` says.

    Raises:
        BundleError: the bundle is missing, altered or not understood, or it lacks `hashes.json` or
            `cascade.json`.
    """

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(path, HASHES)
        except BundleError:
            if _has_file(path, SCHEMA_1_HASHES) and not _has_file(path, HASHES):
                raise BundleError(
                    f"{path}: made by an older version of ckd (schema 1); "
                    f"`ckd-export upgrade {path} --out NEW` makes one of it that can be read"
                ) from None
            raise
        self.spec: CascadeSpec = spec_from_json(self.read(CASCADE))
        for node in self.spec.nodes:
            for file in node.files.values():
                self.record(file)

    @property
    def id(self) -> str:
        """Name and first digits of the digest, for people."""
        return f"{self.spec.name}@{self.digest()[:12]}"


def _has_file(path: Path, name: str) -> bool:
    try:
        return (zipfile.Path(path) if path.is_file() else path).joinpath(name).is_file()
    except Exception:  # a damaged index may raise anything
        return False


def check_new(out: Path) -> None:
    """Raise `UsageError` if the path of a new bundle is taken."""
    if out.exists():
        raise UsageError(f"{out} exists; name another folder or remove it")
