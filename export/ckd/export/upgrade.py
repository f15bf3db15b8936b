"""Converts bundles of schema 1: the same networks, described and listed as in schema 2."""

import json
from pathlib import Path

from ckd.contract.bundle import CASCADE, Bundle, check_new
from ckd.contract.cascade_json import SCHEMA, spec_from_json, spec_to_json
from ckd.contract.errors import BundleError, UsageError
from ckd.contract.hashes import HASHES, SCHEMA_1_HASHES, write_hashes
from ckd.contract.listed import ListedFiles
from ckd.contract.parsing import parse_json
from ckd.contract.whole_file import new_folder


def upgrade_bundle(source: Path, out: Path) -> None:
    """Make a bundle of the present schema from one of schema 1; the networks stay the same.

    Args:
        source: folder or zip file.
        out: bundle folder to create.

    Raises:
        UsageError: ``out`` exists, or ``source`` already is of the present schema.
        BundleError: ``source`` is no bundle of schema 1, incomplete, holds files that are not
            listed, or was changed after it was made.
    """
    check_new(out)
    old = _opened(source)
    old.verify()
    cascade = _converted(source, old.read(CASCADE))
    with new_folder(out) as new:
        folder = new.path
        old.copy_to(folder)
        (folder / CASCADE).write_text(cascade)
        write_hashes(folder)
        Bundle(folder).verify()
        new.keep()


def _opened(source: Path) -> ListedFiles:
    try:
        old = ListedFiles(source, SCHEMA_1_HASHES)
    except BundleError as error:
        try:
            Bundle(source)
        except BundleError:
            raise BundleError(f"{error}; only bundles of schema 1 are converted") from error
        raise UsageError(f"{source}: is of schema {SCHEMA} already; use it as it is") from error
    if HASHES in old.files:
        raise BundleError(f"{source}: {HASHES} is no file of a bundle of schema 1")
    return old


def _converted(source: Path, cascade: bytes) -> str:
    try:
        tree = parse_json(cascade)
        if tree["schema"] != 1:
            raise BundleError(f"{source}: schema {tree['schema']!r}; expected 1")
        tree["schema"] = SCHEMA
        tree["outputs"] = tree.pop("results")
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{source}: {CASCADE} is malformed ({error!r})") from error
    try:
        return spec_to_json(spec_from_json(json.dumps(tree)))
    except BundleError as error:
        raise BundleError(f"{source}: {error}") from error
