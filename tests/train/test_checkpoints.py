"""Checkpoints are whole or not there, and a torn one is named."""

from pathlib import Path

import pytest
import torch

from ckd.contract.errors import InputError, UsageError
from ckd.train.fitting.checkpoints import WholeCheckpoints, check_checkpoint
from ckd.train.recipes.taught import plain_mobile
from ckd.train.recipes.text import load_recipe


def test_a_failure_while_writing_keeps_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stage" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)
    good = path.read_bytes()
    (path.parent / ".writing-last.ckpt-1").write_bytes(b"of a killed process")

    def full(checkpoint: object, file: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        WholeCheckpoints().save_checkpoint({"epoch": 2}, path)
    assert path.read_bytes() == good
    assert list(path.parent.iterdir()) == [path]
    assert torch.load(path) == {"epoch": 1}


@pytest.mark.parametrize("size", [0, 100])
def test_a_torn_checkpoint_is_named(tmp_path: Path, size: int) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"weights": torch.zeros(99)}, path)
    check_checkpoint(path, "cls")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"last\.ckpt: damaged or cut off; remove it .*stage cls"):
        check_checkpoint(path, "cls")


@pytest.mark.parametrize(
    "name", ["../victim", "/tmp/victim", "..", ".", "", "recipe.json", "x\\u0000y", "evaluate"]
)
def test_names_of_stages_stay_in_the_run(tmp_path: Path, name: str) -> None:
    path = tmp_path / "recipe.json"
    plain_mobile().save(path)
    path.write_text(path.read_text().replace('"name": "seg"', f'"name": "{name}"'))
    with pytest.raises(UsageError, match=r"stages.*(match pattern|a run has a folder)"):
        load_recipe(path)
