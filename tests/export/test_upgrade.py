"""Bundles of schema 1 can be read again, and nothing else is taken for one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ckd.contract.bundle import CASCADE, Bundle
from ckd.contract.errors import BundleError, CkdError, UsageError
from ckd.contract.hashes import HASHES, write_hashes
from ckd.export.upgrade import OLD_HASHES, upgrade_bundle


@pytest.fixture
def old_bundle(bundle_copy: Path) -> Path:
    """As the version before wrote it."""
    tree = json.loads((bundle_copy / CASCADE).read_text())
    tree |= {"schema": 1, "results": tree.pop("outputs")}
    (bundle_copy / CASCADE).write_text(json.dumps(tree))
    write_hashes(bundle_copy)
    (bundle_copy / HASHES).rename(bundle_copy / OLD_HASHES)
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


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed network": (change("cls.fp32.onnx"), "cls.fp32.onnx was changed"),
    "changed description": (change(CASCADE), "cascade.json was changed"),
    "missing network": (lambda b: (b / "cls.fp32.onnx").unlink(), "cannot be read"),
    "no list": (lambda b: (b / OLD_HASHES).unlink(), f"it has no {OLD_HASHES}"),
    "empty list": (change(OLD_HASHES), "cascade.json is not listed"),
    "list of nonsense": (lambda b: (b / OLD_HASHES).write_text("[]"), "cannot be read"),
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
