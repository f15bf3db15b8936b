"""The made-up dermoscopy: repeatable, well formed, with classes that can be told apart."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ckd.contract.errors import UsageError
from ckd.contract.labels import ISIC2017
from ckd.data.check import check_dataset
from ckd.data.layouts import read_split
from ckd.data.synthetic.write import SyntheticCase, dermoscopy, write_isic2017
from ckd.picture.decode import read_rgb


@pytest.mark.parametrize("label", ISIC2017)
@pytest.mark.parametrize("side_px", [16, 32, 97, 256])
def test_a_case_is_well_formed_at_every_size(label: str, side_px: int) -> None:
    for seed in range(3):
        case = dermoscopy(seed, side_px, label)
        assert case.image_HWC.shape == (side_px, side_px, 3)
        assert case.image_HWC.dtype == np.uint8
        assert case.mask_HW.shape == (side_px, side_px)
        assert case.mask_HW.dtype == np.bool_
        assert case.label == label
        assert 0.02 < case.mask_HW.mean() < 0.5
        assert cv2.connectedComponents(case.mask_HW.astype(np.uint8))[0] == 2  # skin, one lesion


def test_a_seed_gives_the_same_case_and_another_seed_another() -> None:
    first, again, other = dermoscopy(7, 64), dermoscopy(7, 64), dermoscopy(8, 64)
    assert np.array_equal(first.image_HWC, again.image_HWC)
    assert np.array_equal(first.mask_HW, again.mask_HW)
    assert first.label == again.label
    assert not np.array_equal(first.image_HWC, other.image_HWC)


def test_a_seed_chooses_every_class_sometimes() -> None:
    assert {dermoscopy(seed, 16).label for seed in range(40)} == set(ISIC2017)


def test_a_case_looks_alike_at_another_size() -> None:
    for seed in range(6):
        small, large = dermoscopy(seed, 64), dermoscopy(seed, 256)
        shrunk_HWC = cv2.resize(large.image_HWC, (64, 64), interpolation=cv2.INTER_AREA)
        shrunk_HW = cv2.resize(large.mask_HW.astype(np.uint8), (64, 64)).astype(np.bool_)
        # Fine texture and hairs differ; the lesion, the skin and the light must not.
        difference = np.abs(shrunk_HWC.astype(np.float32) - small.image_HWC.astype(np.float32))
        assert np.median(difference) < 12
        union = np.count_nonzero(shrunk_HW | small.mask_HW)
        assert np.count_nonzero(shrunk_HW & small.mask_HW) / union > 0.85


def test_the_lesion_is_darker_than_the_skin_around_it() -> None:
    for seed in range(12):
        case = dermoscopy(seed, 96)
        near_HW = cv2.dilate(case.mask_HW.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
        skin_HW = near_HW & ~case.mask_HW
        assert case.image_HWC[case.mask_HW].mean() + 5 < case.image_HWC[skin_HW].mean()


def cues(case: SyntheticCase) -> NDArray[np.float64]:
    """Three of the cues that the classes are made of: size, ragged border, spread of colours."""
    contours, _ = cv2.findContours(
        case.mask_HW.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    raggedness = cv2.arcLength(contours[0], True) ** 2 / cv2.contourArea(contours[0])
    colours = case.image_HWC[case.mask_HW].astype(np.float64).std(axis=0).mean()
    return np.array([case.mask_HW.mean(), np.log(raggedness), colours])


def test_classes_can_be_told_apart_by_their_cues() -> None:
    cases = [(label, seed) for seed in range(16) for label in ISIC2017]
    cues_NF = np.stack([cues(dermoscopy(seed, 96, label)) for label, seed in cases])
    cues_NF = (cues_NF - cues_NF.mean(0)) / cues_NF.std(0)
    labels_N = np.array([label for label, _ in cases])
    right = 0
    for index, label in enumerate(labels_N):  # leave one out, nearest class mean
        rest_N = np.arange(len(labels_N)) != index
        means = {k: cues_NF[rest_N & (labels_N == k)].mean(0) for k in ISIC2017}
        right += label == min(means, key=lambda k: float(np.linalg.norm(means[k] - cues_NF[index])))
    # Chance is a third. Three crude numbers reach about three quarters; a network sees far more.
    assert right / len(labels_N) > 0.6


def test_an_unknown_label_and_a_tiny_picture_are_refused() -> None:
    with pytest.raises(UsageError, match=r"'BCC' cannot be made up; choose one of MEL, SBK, NEV"):
        dermoscopy(0, label="BCC")
    with pytest.raises(UsageError, match=r"side_px is 8; give at least 16"):
        dermoscopy(0, side_px=8)


def test_a_written_data_set_is_read_as_isic2017_and_says_that_it_is_made_up(
    tmp_path: Path,
) -> None:
    write_isic2017(tmp_path, num_train=8, num_val=4, num_test=4, side_px=32, seed=3)
    told = json.loads((tmp_path / "generated.json").read_text())
    assert (told["command"], told["seed"]) == ("ckd-train data generate", 3)
    assert check_dataset(tmp_path).name == "generated (isic2017 layout)"
    assert read_split(tmp_path, "train").class_counts() == (2, 2, 4)
    seen = set()
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        samples = read_split(tmp_path, split)  # type: ignore[arg-type]
        assert samples.name == "generated (isic2017 layout)"
        assert len(samples.with_masks()) == len(samples.with_labels()) == count
        for sample in samples.samples:
            assert sample.mask is not None
            mask_HW = np.asarray(Image.open(sample.mask))
            assert set(np.unique(mask_HW)) == {0, 255}
            assert mask_HW.shape == (32, 32)
            seen.add(read_rgb(sample.image).tobytes())
    assert len(seen) == 16


def test_the_seed_of_a_written_data_set_counts_and_no_test_images_leave_no_folder(
    tmp_path: Path,
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_isic2017(tmp_path / name, num_train=2, num_val=1, side_px=32, seed=seed)
    files = [
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*g")}
        for name in "abc"
    ]
    assert files[0] == files[1] != files[2]
    assert not list((tmp_path / "a").glob("*Test*"))


def test_the_data_side_needs_no_torch() -> None:
    code = "import sys, ckd.data.check, ckd.data.synthetic.write;sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
