"""Bundles of schema 1 can be read again, and nothing else is taken for one."""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ckd.contract.bundle import CASCADE, Bundle
from ckd.contract.errors import BundleError, CkdError, UsageError
from ckd.contract.hashes import HASHES, SCHEMA_1_HASHES, write_hashes
from ckd.export.upgrade import upgrade_bundle


@pytest.fixture
def old_bundle(bundle_copy: Path) -> Path:
    """As the version before wrote it."""
    tree = json.loads((bundle_copy / CASCADE).read_text())
    tree |= {"schema": 1, "results": tree.pop("outputs")}
    (bundle_copy / CASCADE).write_text(json.dumps(tree))
    write_hashes(bundle_copy)
    (bundle_copy / HASHES).rename(bundle_copy / SCHEMA_1_HASHES)
    return bundle_copy


@pytest.mark.parametrize("as_zip", [False, True])
def test_an_old_bundle_says_the_same_in_the_new_schema(
    old_bundle: Path, tiny_bundle: Path, tmp_path: Path, as_zip: bool
) -> None:
    source = old_bundle
    if as_zip:
        source = Path(shutil.make_archive(str(tmp_path / "old"), "zip", old_bundle))
    upgrade_bundle(source, tmp_path / "new")
    upgraded, wanted = Bundle(tmp_path / "new"), Bundle(tiny_bundle)
    upgraded.verify()
    assert upgraded.spec == wanted.spec
    networks = [name for name in wanted.files if name.endswith(".onnx")]
    assert {n: upgraded.files[n] for n in networks} == {n: wanted.files[n] for n in networks}


def change(name: str) -> Callable[[Path], object]:
    return lambda bundle: (bundle / name).write_bytes(b"{}")


def pipe(bundle: Path) -> None:
    (bundle / SCHEMA_1_HASHES).unlink()
    os.mkfifo(bundle / SCHEMA_1_HASHES)


def listed(*names: str, size: int | None = None) -> Callable[[Path], object]:
    """Lists files of the content "{}", or gives one of the bundle another size."""

    def edit(bundle: Path) -> None:
        records = json.loads((bundle / SCHEMA_1_HASHES).read_text())
        for name in names:
            if size is not None:
                records[name]["size"] = size
                continue
            records[name] = {"size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
        (bundle / SCHEMA_1_HASHES).write_text(json.dumps(records))

    return edit


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed network": (change("cls.fp32.onnx"), "cls.fp32.onnx was changed"),
    "changed description": (change(CASCADE), "cascade.json was changed"),
    "missing network": (lambda b: (b / "cls.fp32.onnx").unlink(), "cls.fp32.onnx is missing"),
    "no list": (lambda b: (b / SCHEMA_1_HASHES).unlink(), f"{SCHEMA_1_HASHES} is missing"),
    "empty list": (change(SCHEMA_1_HASHES), "is not listed in MANIFEST.json"),
    "endless list": (lambda b: os.truncate(b / SCHEMA_1_HASHES, 9 << 30), "is malformed"),
    "pipe as a list": (pipe, f"{SCHEMA_1_HASHES} is missing"),
    "wrong size": (listed(CASCADE, size=1), "cascade.json was changed"),
    "file that is not listed": (change("extra.bin"), "'extra.bin' is not listed"),
    "list in the list": (listed(HASHES), "hashes.json is no file of a bundle of schema 1"),
    "list of nonsense": (lambda b: (b / SCHEMA_1_HASHES).write_text("[]"), "is malformed"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused(old_bundle: Path, tmp_path: Path, damage: str) -> None:
    spoil, message = DAMAGES[damage]
    spoil(old_bundle)
    with pytest.raises(BundleError, match=message):
        upgrade_bundle(old_bundle, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_needs_no_upgrade_or_has_no_room_is_refused(
    tiny_bundle: Path, old_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is of schema 2 already"):
        upgrade_bundle(tiny_bundle, tmp_path / "new")
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="there exists"):
        upgrade_bundle(old_bundle, tmp_path / "there")
    with pytest.raises(CkdError, match="no such bundle"):
        upgrade_bundle(tmp_path / "nowhere", tmp_path / "new")


def test_a_zip_whose_names_contradict_each_other_is_refused(
    old_bundle: Path, tmp_path: Path
) -> None:
    listed("a", "a/b")(old_bundle)
    source = Path(shutil.make_archive(str(tmp_path / "old"), "zip", old_bundle))
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("a", "{}")
        archive.writestr("a/b", "{}")
    with pytest.raises(BundleError, match="is a file and a folder at once"):
        upgrade_bundle(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()
