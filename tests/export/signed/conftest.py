"""A key, and the tiny bundle signed by it."""

from pathlib import Path

import pytest
from keys import Key


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key.made(tmp_path_factory.mktemp("keys"), "maker")


@pytest.fixture(scope="session")
def once_signed(tiny_bundle: Path, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ckd.export.sign import sign_bundle

    out = tmp_path_factory.mktemp("signed") / "bundle"
    assert sign_bundle(tiny_bundle, out, key.private, serial=3) == "maker.key"
    return out


@pytest.fixture
def signed(once_signed: Path, tmp_path: Path) -> Path:
    """The signed bundle, to be changed."""
    import shutil

    return Path(shutil.copytree(once_signed, tmp_path / "signed"))
