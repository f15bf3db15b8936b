"""A bundle on disk: a folder, or the same tree as a zip file, whose files `hashes.json` lists."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ckd.contract.cascade_json import spec_from_json
from ckd.contract.errors import BundleError, UsageError
from ckd.contract.hashes import HASHES, SCHEMA_1_HASHES, SIGNATURE
from ckd.contract.listed import ListedFiles
from ckd.contract.onnx_wire import check_whole
from ckd.contract.spec import CascadeSpec

CASCADE: Final = "cascade.json"
_MOST_SIGNATURE_BYTES: Final = 1 << 22


#: Tells who signed a bundle: given the content of `SIGNATURE`, None for a bundle without one, and
#: the SHA-256 of every other file by name, it gives a name, or raises `BundleError` with a message
#: that follows the bundle's path.
Verifier = Callable[[bytes | None, Mapping[str, str]], str]


class Bundle(ListedFiles):
    """A bundle opened for reading.

    Args:
        path: folder or .zip file.
        verifier: asked before anything but the list of files is read; then every file has to be as
            it was signed. None to ask nobody, and each file is checked when it is used.

    Attributes:
        spec: what `cascade.json` says.
        signer: who signed it, by the verifier; None if nobody was asked.

    Raises:
        BundleError: the bundle is missing, altered or not understood, or it lacks `hashes.json` or
            `cascade.json`.
    """

    def __init__(self, path: Path, verifier: Verifier | None = None) -> None:
        try:
            super().__init__(path, HASHES, unlisted=(SIGNATURE,))
        except BundleError:
            if _has_file(path, SCHEMA_1_HASHES) and not _has_file(path, HASHES):
                raise BundleError(
                    f"{path}: made by an older version of ckd (schema 1); "
                    f"`ckd-export upgrade {path} --out NEW` makes one of it that can be read"
                ) from None
            raise
        self.signer = None if verifier is None else self._verified(verifier)
        self._networks: frozenset[str] = frozenset()
        self.spec: CascadeSpec = spec_from_json(self.read(CASCADE))
        self._networks = frozenset(file for node in self.spec.nodes for file in node.files.values())
        for file in sorted(self._networks):
            self.record(file)

    def read(self, name: str) -> bytes:
        """As `ListedFiles.read`; a network is also looked through (`ckd.contract.onnx_wire`).

        Raises:
            BundleError: as there; or a network has weights or operators that are not in its file.
        """
        content = super().read(name)
        if name in self._networks or name.endswith(".onnx"):
            try:
                check_whole(content)
            except ValueError as error:
                raise BundleError(f"{self.path}: {name} {error}; export it as one file") from None
        return content

    def _verified(self, verifier: Verifier) -> str:
        digests = {name: record.sha256 for name, record in self.files.items()}
        signature = self.raw(SIGNATURE, _MOST_SIGNATURE_BYTES) if self.has_signature else None
        try:
            signer = verifier(signature, {**digests, HASHES: self.digest()})
        except BundleError as error:
            raise BundleError(f"{self.path}: {error}") from error
        self.check_present()
        for name in self.files:
            super().read(name)  # as bytes: nothing is parsed before all are as they were signed
        return signer

    @property
    def has_signature(self) -> bool:
        """Whether it carries a signature, whoever's, which need not hold."""
        return self.has(SIGNATURE)

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
