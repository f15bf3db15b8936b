"""Converts bundles of schema 1: the same networks, described and listed as in schema 2."""

import hashlib
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from ckd.contract.bundle import CASCADE, Bundle, check_new, move_new
from ckd.contract.cascade_json import SCHEMA, spec_from_json, spec_to_json
from ckd.contract.errors import BundleError, UsageError
from ckd.contract.hashes import HASHES, read_hashes, write_hashes

#: List of the files of a bundle of schema 1.
OLD_HASHES: Final = "MANIFEST.json"


def upgrade_bundle(source: Path, out: Path) -> None:
    """Make a bundle of the present schema from one of schema 1; the networks stay the same.

    Args:
        source: folder or zip file.
        out: bundle folder to create.

    Raises:
        UsageError: ``out`` exists, or ``source`` already is of the present schema.
        BundleError: ``source`` is no bundle, incomplete, or was changed after it was made.
    """
    check_new(out)
    content = _read(source)
    try:
        tree = json.loads(content[CASCADE])
        if tree["schema"] != 1:
            raise BundleError(f"{source}: schema {tree['schema']!r}; expected 1")
        tree["schema"] = SCHEMA
        tree["outputs"] = tree.pop("results")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BundleError(f"{source}: {CASCADE} is malformed ({error!r})") from error
    content[CASCADE] = spec_to_json(spec_from_json(json.dumps(tree))).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundle-") as room:
        folder = Path(room) / "bundle"
        for name, data in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        write_hashes(folder)
        Bundle(folder).verify()
        move_new(folder, out)


def _read(source: Path) -> dict[str, bytes]:
    """The content of every file that the old list names, checked against its hash."""
    if not source.exists():
        raise BundleError(f"{source}: no such bundle")
    try:
        root = zipfile.Path(source) if source.is_file() else source
        if not (root / OLD_HASHES).is_file():
            if (root / HASHES).is_file():
                raise UsageError(f"{source}: is of schema {SCHEMA} already; use it as it is")
            raise BundleError(f"{source}: no bundle of schema 1, as it has no {OLD_HASHES}")
        records = read_hashes((root / OLD_HASHES).read_bytes())
        content = {name: (root / name).read_bytes() for name in records}
    except (BundleError, UsageError):
        raise
    except Exception as error:  # a damaged zip can raise any exception
        raise BundleError(f"{source}: cannot be read ({error})") from error
    for name, record in records.items():
        if hashlib.sha256(content[name]).hexdigest() != record.sha256:
            raise BundleError(f"{source}: {name} was changed since the bundle was made")
    if CASCADE not in content:
        raise BundleError(f"{source}: {CASCADE} is not listed in {OLD_HASHES}")
    return content
