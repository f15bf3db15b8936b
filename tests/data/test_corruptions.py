"""Damage of bad captures: it repeats, keeps size and type, grows, and moves masks along."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.data.corruptions import CORRUPTIONS, GRADES, corrupted
from ckd.data.synthetic.overlays import hair_opacity, ruler_opacity

MOVE = {"crop", "rotation"}


def photograph() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A dark red disc on light skin with furrows and grain: RGB [H, W, 3], and its mask."""
    y, x = np.mgrid[:192, :256] / 2
    truth_HW = (y - 40) ** 2 + (x - 76) ** 2 < 20**2
    image_HWC = np.where(truth_HW[..., None], (120, 60, 50), (190, 160, 140))
    texture_HW = 12 * np.sin(x / 2) * np.sin(y / 3) + 0.15 * x
    texture_HW += np.random.default_rng(0).normal(0, 4, x.shape)
    return np.clip(image_HWC + texture_HW[..., None], 0, 255).astype(np.uint8), truth_HW


def test_there_are_the_ten_kinds_that_the_documents_name() -> None:
    assert [*CORRUPTIONS] == [
        "colour", "gamma", "blur", "motion", "noise", "jpeg", "exposure", "crop", "rotation",
        "overlays",
    ]  # fmt: skip


def test_the_documents_state_the_grades() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    for kind in CORRUPTIONS.values():
        grades = ", ".join(f"{strength:g}" for strength in kind.strengths)
        assert any(
            line.startswith(f"| `{kind.name}` | {kind.meaning}") and line.endswith(f"| {grades} |")
            for line in text.splitlines()
        ), kind.name


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_damage_repeats_keeps_size_and_type_and_grows(kind: str) -> None:
    image_HWC, truth_HW = photograph()
    before_HWC = image_HWC.copy()
    distances = []
    for grade in GRADES:
        damaged_HWC, mask_HW = corrupted(image_HWC, truth_HW, kind, grade, "ISIC_1")
        again_HWC, again_HW = corrupted(image_HWC, truth_HW, kind, grade, "ISIC_1")
        assert mask_HW is not None
        assert again_HW is not None
        np.testing.assert_array_equal(damaged_HWC, again_HWC)
        np.testing.assert_array_equal(mask_HW, again_HW)
        assert (damaged_HWC.shape, damaged_HWC.dtype) == (image_HWC.shape, image_HWC.dtype)
        assert (mask_HW.shape, mask_HW.dtype) == (truth_HW.shape, truth_HW.dtype)
        assert np.array_equal(mask_HW, truth_HW) is (kind not in MOVE)
        alone_HWC, none = corrupted(image_HWC, None, kind, grade, "ISIC_1")
        assert none is None
        if kind != "crop":  # which aims at the lesion where it is known
            np.testing.assert_array_equal(alone_HWC, damaged_HWC)
        distances.append(np.abs(damaged_HWC.astype(int) - image_HWC).mean())
    assert distances == sorted(set(distances)), distances  # each grade is stronger than the last
    assert distances[0] > 0
    np.testing.assert_array_equal(image_HWC, before_HWC)


@pytest.mark.parametrize("kind", ["motion", "noise", "crop", "rotation", "overlays"])
def test_other_photographs_draw_otherwise(kind: str) -> None:
    image_HWC, truth_HW = photograph()
    damaged = {corrupted(image_HWC, truth_HW, kind, 3, f"{n}")[0].tobytes() for n in range(6)}
    assert len(damaged) >= 2  # rotation draws a sign only


@pytest.mark.parametrize("kind", sorted(MOVE))
@pytest.mark.parametrize("name", ["a", "b", "c", "d"])
def test_masks_move_with_the_lesion(kind: str, name: str) -> None:
    image_HWC, truth_HW = photograph()
    for grade in GRADES:
        damaged_HWC, mask_HW = corrupted(image_HWC, truth_HW, kind, grade, name)
        assert mask_HW is not None
        assert mask_HW.any()
        is_dark_HW = damaged_HWC[..., 0] < 162  # half way between lesion and skin
        overlap = (is_dark_HW & mask_HW).sum() / (is_dark_HW | mask_HW).sum()
        assert overlap > 0.9  # borders are resampled; without moving it is below 0.85 at grade 5
    assert mask_HW is not None
    still = (is_dark_HW & truth_HW).sum() / (is_dark_HW | truth_HW).sum()
    assert still < 0.85


def test_a_turn_is_by_the_degrees_that_the_grade_says() -> None:
    mask_HW = np.zeros((101, 101), bool)
    mask_HW[20, 50] = True
    image_HWC = np.zeros((101, 101, 3), np.uint8)
    for grade, degrees in zip(GRADES, CORRUPTIONS["rotation"].strengths, strict=True):
        _, turned_HW = corrupted(image_HWC, mask_HW, "rotation", grade, "x")
        assert turned_HW is not None
        (row, *_), (column, *_) = np.nonzero(turned_HW)
        angle = np.degrees(np.arctan2(abs(column - 50), 50 - row))
        assert angle == pytest.approx(degrees, abs=2)  # a pixel at 30 px from the middle


def test_noise_means_the_same_in_photographs_of_any_size() -> None:
    deviations = []
    for side in (64, 256):
        image_HWC = np.full((side, side, 3), 128, np.uint8)
        noisy_HWC, _ = corrupted(image_HWC, None, "noise", 2, "x")
        block = side // 32
        means = noisy_HWC.reshape(32, block, 32, block, 3).astype(float).mean(axis=(1, 3))
        deviations.append(means.std())
    assert deviations[0] == pytest.approx(deviations[1], rel=0.1)
    assert deviations[0] == pytest.approx(16 * 32 / 512, rel=0.1)


def test_fewer_hairs_are_the_first_of_more_and_a_ruler_has_its_ticks() -> None:
    few_HW, many_HW = (hair_opacity(np.random.default_rng(1), (80, 100), count) for count in (3, 9))
    assert (many_HW >= few_HW).all()
    assert np.count_nonzero(many_HW) > np.count_nonzero(few_HW) > 0
    ruler_HW = ruler_opacity(np.random.default_rng(0), (400, 400)) > 128
    widest = ruler_HW.sum(axis=1).argmax()
    above = np.diff(np.concatenate([[0], ruler_HW[widest - 4].astype(int)]))
    assert (above == 1).sum() == 25
