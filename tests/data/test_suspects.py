"""Masks that do not belong on their photograph as they lie are found, and others are left alone."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from ckd.contract.errors import GateFailed, UsageError
from ckd.data.agreement import UNDOING, Agreement, agreement_of
from ckd.data.check import check_dataset
from ckd.data.layouts import read_split
from ckd.data.masks import read_mask
from ckd.data.names import alike_labels, likely_masks
from ckd.data.report import DataReport
from ckd.data.suspects import JudgedMask, suspects_of
from ckd.picture.decode import read_rgb
from ckd.picture.folders import photographs_in
from ckd.train.cli import cli
from ckd.train.evaluation.suspects_sheet import write_suspects

Mask = NDArray[np.bool_]
DAMAGES: dict[str, Callable[[Mask], Mask]] = {
    "turned by 180 degrees": lambda mask: mask[::-1, ::-1],
    "mirrored left to right": lambda mask: mask[:, ::-1],
    "mirrored upside down": lambda mask: mask[::-1],
    "turned by 90 degrees clockwise": lambda mask: np.rot90(mask, -1),
    "turned by 90 degrees anticlockwise": lambda mask: np.rot90(mask),
    "mirrored along a diagonal": lambda mask: mask.T,
    "mirrored along the other diagonal": lambda mask: np.rot90(mask, 2).T,
}
ISIC = Path(
    os.environ.get(
        "CKD_DATA_ISIC2017", Path(__file__).resolve().parents[3] / "shared/data/isic2017_256"
    )
)


def scene(seed: int, width: int = 64) -> tuple[NDArray[np.uint8], Mask]:
    """Noisy skin with a dark wedge that no turn leaves as it is, and the wedge."""
    rng = np.random.default_rng(seed)
    y_HW, x_HW = np.mgrid[0:64, 0:width] / 64.0
    mask_HW = (x_HW > 0.1) & (x_HW < 0.4) & (y_HW > 0.2) & (y_HW < 0.3 + x_HW)
    noise_HWC = rng.normal(0, 12, (64, width, 3))
    colour_HWC = np.where(mask_HW[..., None], (120, 80, 70), (220, 180, 160))
    return np.clip(colour_HWC + noise_HWC, 0, 255).astype(np.uint8), mask_HW


def judged(number: int, image_HWC: NDArray[np.uint8], mask_HW: Mask) -> JudgedMask:
    digests = str(hash(image_HWC.tobytes())), str(hash(mask_HW.tobytes()))
    agreement = agreement_of(image_HWC, mask_HW)
    return JudgedMask(Path(f"{number}.jpg"), Path(f"{number}.png"), *digests, agreement)


def named(masks: list[JudgedMask]) -> list[tuple[str, str]]:
    return [(suspect.code, suspect.what) for suspect in suspects_of(masks)]


def test_every_damage_has_its_undoing() -> None:
    _, mask_HW = scene(0)
    assert list(DAMAGES) == list(UNDOING)
    for name, damage in DAMAGES.items():
        assert not np.array_equal(damage(mask_HW), mask_HW)
        assert np.array_equal(UNDOING[name](damage(mask_HW)), mask_HW), name


@pytest.mark.parametrize("name", DAMAGES)
def test_a_turned_mask_is_named_with_what_was_done_to_it(name: str) -> None:
    image_HWC, mask_HW = scene(1)
    right = [judged(0, image_HWC, mask_HW)]
    assert named(right) == []
    assert named([*right, judged(1, image_HWC, DAMAGES[name](mask_HW))]) == [("turned-mask", name)]


def test_only_damages_that_keep_the_size_are_looked_for() -> None:
    image_HWC, mask_HW = scene(2, width=96)
    assert list(agreement_of(image_HWC, mask_HW).others) == list(UNDOING)[:3]
    assert named([judged(0, image_HWC, mask_HW[::-1])]) == [("turned-mask", "mirrored upside down")]


def test_many_that_were_turned_alike_are_named_where_one_would_not_be() -> None:
    others = dict.fromkeys(UNDOING, 0.1)
    weak = Agreement(0.2, {**others, "mirrored upside down": 0.3}, 50.0, 0.0)
    right = Agreement(0.9, others, 50.0, 0.0)

    def some(agreement: Agreement, count: int, of: str) -> list[JudgedMask]:
        names = [f"{of}{number}" for number in range(count)]
        return [JudgedMask(Path(f"{n}.jpg"), Path(f"{n}.png"), n, n, agreement) for n in names]

    assert named(some(weak, 4, "w")) == []
    assert named(some(weak, 5, "w")) == [("turned-masks", "mirrored upside down")] * 5
    assert len(named(some(weak, 5, "w") + some(right, 20, "r"))) == 5
    assert named(some(weak, 5, "w") + some(right, 21, "r")) == []


def test_inverted_and_flat_masks_and_one_mask_for_many_are_named() -> None:
    image_HWC, mask_HW = scene(3)
    assert named([judged(0, image_HWC, ~mask_HW)]) == [("inverted-mask", "inverted")]
    plain_HWC = np.full_like(image_HWC, 180)
    assert named([judged(0, plain_HWC, mask_HW)]) == [("flat-mask", "no different inside")]
    same = [judged(number, scene(number)[0], mask_HW) for number in range(3)]
    assert named(same) == [("alike-mask", "the same for 3 photographs")] * 3
    assert named(same[:2]) == []
    assert named([same[0]] * 3) == []  # one photograph, listed again
    whole_HW = np.ones_like(mask_HW)
    assert named([judged(0, image_HWC, whole_HW)]) == []  # there is nothing to compare with


@pytest.mark.parametrize(
    ("damage", "code", "least"),
    [
        (lambda mask_HW: mask_HW[::-1, ::-1], "turned-masks", 25),
        (lambda mask_HW: mask_HW[:, ::-1], "turned-masks", 25),
        (lambda mask_HW: ~mask_HW, "inverted-mask", 27),
        (lambda mask_HW: mask_HW, "", 0),
    ],
)
def test_most_damages_of_real_masks_are_found(
    damage: Callable[[Mask], Mask], code: str, least: int
) -> None:
    if not ISIC.is_dir():
        pytest.skip("needs ISIC 2017: set CKD_DATA_ISIC2017 to its folder")
    samples = read_split(ISIC, "train").samples[::64][:30]
    found = []
    for number, sample in enumerate(samples):
        image_HWC = read_rgb(sample.image)
        assert sample.mask is not None
        found.append(judged(number, image_HWC, damage(read_mask(sample.mask, image_HWC.shape))))
    suspects = suspects_of(found)
    assert {suspect.code for suspect in suspects} == {code} - {""}
    assert len(suspects) >= least


def test_the_sheet_shows_the_suspects_and_is_no_photograph(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(6):
        image_HWC, mask_HW = scene(number)
        mask_HW = mask_HW.copy()
        mask_HW[-1, number] = True  # each mask is another
        Image.fromarray(image_HWC).save(tmp_path / f"images/m{number}.png")
        Image.fromarray(mask_HW[::-1].astype(np.uint8) * 255).save(
            tmp_path / f"masks/m{number}.png"
        )
    report = check_dataset(tmp_path)
    codes = {problem.code: problem for problem in report.problems}
    assert "masks/m0.png (mirrored upside down)" in codes["turned-masks"].examples
    assert report.has_errors
    assert len(report.as_dict()["suspects"]) == 6
    path = tmp_path / "out" / "suspects.png"
    run = CliRunner().invoke(cli, ["data", "check", str(tmp_path), "--out", str(path.parent)])
    assert isinstance(run.exception, GateFailed)
    assert f"masks to look at: {path}" in run.stderr
    assert "error: 6 masks would lie better on the lesion if turned back" in run.stdout
    picture_HWC = read_rgb(path).astype(np.int16)
    for colour in ((255, 64, 64), (64, 224, 144)):  # as it lies, turned back
        assert (np.abs(picture_HWC - np.array(colour)).max(axis=2) < 3).sum() > 500
    assert photographs_in(path.parent).left_out == {"result": 1}
    path.unlink()
    (tmp_path / "masks/m5.png").unlink()  # meanwhile
    assert write_suspects(report, path.parent) == path
    with pytest.raises(UsageError, match="cannot write there"):
        write_suspects(DataReport("", "", (), ()), tmp_path / "images/m0.png")


def test_masks_under_another_name_are_suggested_where_only_one_comes_close() -> None:
    images = [
        Path(name) for name in ("Mole 1.jpg", "mole2.jpg", "m3.JPG", "m4.jpg", "m5.jpg", "x.jpg")
    ]
    masks = [
        Path(name)
        for name in (
            "mole_1_mask.png",
            "mask-mole2.png",
            "m3.jpg.png",
            "m4_gt.png",
            "m4-seg.png",
            "Ground Truth m5.png",
        )
    ]
    likely = likely_masks(images, masks)
    assert {image.name: mask.name for image, mask in likely.items()} == {
        "Mole 1.jpg": "mole_1_mask.png",
        "mole2.jpg": "mask-mole2.png",
        "m3.JPG": "m3.jpg.png",
        "m5.jpg": "Ground Truth m5.png",
    }


def test_labels_that_differ_only_in_their_spelling_are_named() -> None:
    labels = ("Nevus", "nevus", "basal cell", "Basal-Cell", "wart", "warts")
    assert alike_labels(labels) == ["'Basal-Cell' and 'basal cell'", "'Nevus' and 'nevus'"]
