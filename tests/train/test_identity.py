"""Starting weights are recognised by all files that a network could take them from."""

import hashlib
from pathlib import Path

import pytest

from ckd.contract.errors import UsageError
from ckd.train.fitting.identity import identity


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "timm").mkdir()
    for name in ("resnet50.pth", "resnet18.pth"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_folder_of_pth_files_is_what_it_was_to_older_runs(folder: Path) -> None:
    (folder / "README.md").write_text("no weights")
    before = f"sha256 {sha256('resnet18.pth')} {sha256('resnet50.pth')}"
    assert identity(folder) == before
    assert identity(folder / "resnet18.pth") == f"sha256 {sha256('resnet18.pth')}"


@pytest.mark.parametrize(
    "name", ["lite0.safetensors", "timm/resnet18.safetensors", "timm/resnet18.pth"]
)
def test_other_files_that_weights_are_read_from_count_too(folder: Path, name: str) -> None:
    before = identity(folder)
    (folder / name).write_text("one")
    assert identity(folder) == f"{before} {name} {sha256('one')}"
    (folder / name).write_text("two")
    assert identity(folder) == f"{before} {name} {sha256('two')}"


def test_a_file_that_cannot_be_read_is_refused(folder: Path) -> None:
    (folder / "timm" / "a.safetensors").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        identity(folder)
