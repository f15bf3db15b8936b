"""Checkpoints are whole or not there, and a torn one is named."""

import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from damage import packed

from ckd.contract.errors import InputError, UsageError
from ckd.train.fitting.checkpoints import WholeCheckpoints
from ckd.train.fitting.stage_folder import StageFolder
from ckd.train.fitting.whole_checkpoint import (
    before,
    check_checkpoint,
    is_whole,
    whole_checkpoint,
)
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


def test_a_full_disk_is_named_as_such(tmp_path: Path) -> None:
    """PyTorch says "unexpected pos 3648 vs 3542" of it."""
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*/last\.ckpt'"):
            WholeCheckpoints().save_checkpoint({"weights": torch.zeros(9999)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.load(path) == {"epoch": 1}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


def blank(path: Path) -> None:
    """As after a loss of power: the length is right, a part of the bytes never arrived."""
    content = bytearray(path.read_bytes())
    content[600:1600] = bytes(1000)
    path.write_bytes(content)


def flip_in_list(place: int, bit: int) -> Callable[[Path], object]:
    """The list of a zip's parts, at its end, has no check sum; ``place`` counts from its start."""

    def flip(path: Path) -> None:
        with zipfile.ZipFile(path) as parts:
            start = parts.start_dir
        content = bytearray(path.read_bytes())
        content[start + place if place >= 0 else place] ^= 1 << bit
        path.write_bytes(content)

    return flip


#: How the first part is packed, its attribute "is a folder", and how many parts there are.
FLIPPED = (flip_in_list(10, 3), flip_in_list(38, 4), flip_in_list(-62, 0))


@pytest.mark.parametrize(
    "damage", [cut, blank, Path.unlink, lambda path: path.write_bytes(b""), *FLIPPED]
)
def test_the_epoch_before_is_gone_on_from_if_the_last_one_is_damaged(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    folder = StageFolder(tmp_path)
    path = tmp_path / "last.ckpt"
    saver = WholeCheckpoints(kept=("last",))
    for epoch in (1.0, 2.0):
        saver.save_checkpoint({"state_dict": {"weight": torch.full((999,), epoch)}}, path)
        saver.save_checkpoint({}, tmp_path / "best.ckpt")
    assert folder.checkpoint == path
    assert whole_checkpoint(path, "cls") == (path, None)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "best.ckpt", before(path), path]
    damage(path)
    assert folder.checkpoint == path
    found, sentence = whole_checkpoint(path, "cls")
    assert found == tmp_path / "last.before.ckpt"
    assert torch.load(found)["state_dict"]["weight"][0] == 1.0
    assert sentence is not None
    assert "going on from the epoch before, last.before.ckpt" in sentence
    with pytest.raises(InputError, match="repeat the command, which goes on from the epoch before"):
        folder.finish([], None)
    damage(found)
    with pytest.raises(InputError, match="start the stage over with"):
        folder.finish([], None)
    with pytest.raises(InputError, match=r"damaged or cut off; remove it .*stage cls"):
        whole_checkpoint(path, "cls")


def test_a_disk_without_room_for_three_keeps_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, save = tmp_path / "last.ckpt", torch.save
    saver = WholeCheckpoints(kept=("last",))
    for epoch in (1, 2):
        saver.save_checkpoint({"epoch": epoch}, path)

    def full(checkpoint: object, file: BinaryIO) -> None:
        if before(path).exists():
            raise OSError(28, "No space left on device")
        save(checkpoint, file)

    monkeypatch.setattr(torch, "save", full)
    saver.save_checkpoint({"epoch": 3}, path)
    assert torch.load(path) == {"epoch": 3}
    assert torch.load(before(path)) == {"epoch": 2}


@pytest.mark.parametrize("size", [0, 100])
def test_a_torn_checkpoint_is_named(tmp_path: Path, size: int) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"state_dict": {"weight": torch.zeros(99)}}, path)
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


class Planted:
    """What a pickle would carry out as it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path, told = tmp_path / "last.ckpt", tmp_path / "told"
    torch.save({"epoch": 1, "state_dict": {}, "callbacks": Planted(told)}, path)
    assert not is_whole(path)
    with pytest.raises(InputError, match="damaged or cut off"):
        check_checkpoint(path, "rootseg")
    assert not told.exists()
    with pytest.raises(Exception, match="Weights only load failed"):
        WholeCheckpoints().load_checkpoint(path, weights_only=True)
    assert not told.exists()


@pytest.mark.parametrize(
    "content",
    [
        [1],
        "text",
        {"epoch": 1},
        {"state_dict": [torch.ones(1)]},
        {"state_dict": {"system.networks.net.weight": [1.0]}},
        {"state_dict": {"system.networks.net.weight": torch.ones(2).to_sparse()}},
        {"state_dict": {1: torch.ones(2)}},
        {"state_dict": {"system.networks.net.weight": torch.ones(1).expand(10**6, 10**6)}},
    ],
)
def test_a_whole_file_without_weights_is_no_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt: missing, damaged .*--stage"):
        StageFolder(tmp_path).finish(["net"], None)


def test_a_checkpoint_that_unpacks_to_more_than_its_size_is_none(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"system.networks.net.weight": torch.zeros(1 << 20)}}, path)
    assert is_whole(path)
    packed(path)
    assert path.stat().st_size < 10_000
    assert not is_whole(path)


def test_weights_without_values_are_not_kept(tmp_path: Path) -> None:
    state = {"system.networks.net.weight": torch.ones(2, device="meta")}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt: holds weights without values; .*--fresh"):
        StageFolder(tmp_path).finish(["net"], None)
    assert not StageFolder(tmp_path).is_done


def test_weights_that_share_memory_are_kept(tmp_path: Path) -> None:
    shared = torch.arange(3.0)
    state = {f"system.networks.net.{name}": shared for name in ("a", "b")}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    stage = StageFolder(tmp_path)
    stage.finish(["net"], None)
    for tensor in stage.networks()["net"].values():
        assert torch.equal(tensor, shared)
