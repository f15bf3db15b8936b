"""`hashes.json`: size and SHA-256 of every other file of a bundle."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from ckd.contract.parsing import parse_json

HASHES: Final = "hashes.json"
#: The signature over all other files, where there is one; the list does not hold it.
SIGNATURE: Final = "model.sig"
#: What the list was called in bundles of schema 1.
SCHEMA_1_HASHES: Final = "MANIFEST.json"
#: Largest file of a bundle, because ONNX files end at 2 GiB; no more is read into memory.
MAX_FILE_BYTES: Final = 2 << 30
MAX_HASHES_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size in bytes and SHA-256 of one file of a bundle."""

    size: int
    sha256: str


def read_hashes(text: bytes) -> dict[str, FileRecord]:
    """The records of all files by name.

    Raises:
        ValueError: the text is not JSON of that form, or a name or record is not acceptable.
    """
    try:
        listed = parse_json(text)
        check_names(listed)
        return {name: _record(fields) for name, fields in listed.items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error


def check_names(names: Iterable[str]) -> None:
    """Raise `ValueError` if one points outside its folder, or two are one where case is ignored."""
    seen: dict[str, str] = {}
    for name in names:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name:
            raise ValueError(f"{name!r} points outside the bundle")
        if not name.isprintable() or name.rstrip("/") != str(parts):  # as "a/./b" is
            raise ValueError(f"{name!r} is no file name")
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise ValueError(f"{other!r} and {name!r} are one file where case is ignored")


def write_hashes(folder: Path) -> None:
    """Write `hashes.json` of all other files in a folder, as the last step of making a bundle.

    A signature is not among them, and no longer holds.
    """
    records = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in (HASHES, SIGNATURE):
            content = path.read_bytes()
            records[name] = {
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
    (folder / HASHES).write_text(json.dumps(records, indent=2) + "\n")


def _record(record: Mapping[str, object]) -> FileRecord:
    size, sha256 = record["size"], record["sha256"]
    if type(size) is not int or not 0 <= size <= MAX_FILE_BYTES:
        raise ValueError(f"{size!r} is no file size")
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"{sha256!r} is no SHA-256")
    return FileRecord(size, sha256)
