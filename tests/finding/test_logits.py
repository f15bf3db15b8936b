"""Logits become masks in pixels of the photograph, and probabilities.

Suffixes: H rows, W columns, K classes.
"""

from typing import Any

import numpy as np
import pytest

from ckd.finding.logits import class_probabilities, mask_from_logits, softmax


def test_logits_are_enlarged_between_cell_centres() -> None:
    """Two cells of -1 and 3 over 8 pixels: linear from centre 1.5 to centre 5.5, zero at 2.5."""
    row = mask_from_logits(np.array([[-1.0, 3.0]], np.float32), 1, 8)
    assert row.dtype == np.bool_
    assert row.tolist() == [[False, False, False, True, True, True, True, True]]


def test_aligned_logits_are_enlarged_between_corners() -> None:
    """Corners of -1 and 3 on pixels 0 and 8 of 9: zero at pixel 2."""
    logits = np.array([[-1.0, 3.0], [-1.0, 3.0]], np.float32)
    mask_HW = mask_from_logits(logits, 9, 9, aligned_to_px=9)
    assert mask_HW[4].tolist() == [False] * 3 + [True] * 6


def test_the_threshold_is_a_probability() -> None:
    logits = np.full((4, 4), np.log(0.7 / 0.3), np.float32)
    assert mask_from_logits(logits, 20, 30, threshold=0.69).all()
    assert not mask_from_logits(logits, 20, 30, threshold=0.71).any()


def test_logits_at_image_size_are_cut_where_they_are() -> None:
    logits = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    np.testing.assert_array_equal(mask_from_logits(logits, 32, 32), logits > 0)


@pytest.mark.parametrize(
    ("height", "width"), [(16, 16), (480, 640), (31, 97), (1, 1), (100, 40_000)]
)
def test_masks_have_the_size_of_the_photograph(height: int, width: int) -> None:
    logits = np.full((8, 8), 2.0, np.float32)
    for aligned in (None, 32):
        mask_HW = mask_from_logits(logits, height, width, aligned_to_px=aligned)
        assert mask_HW.shape == (height, width)
        assert mask_HW.all()


@pytest.mark.parametrize(("height", "width"), [(48, 64), (301, 203)])
@pytest.mark.parametrize("aligned", [False, True])
def test_masks_agree_with_torch(height: int, width: int, aligned: bool) -> None:
    torch = pytest.importorskip("torch")
    enlarge = torch.nn.functional.interpolate
    logits = np.random.default_rng(3).normal(size=(8, 8)).astype(np.float32)
    tensor = torch.from_numpy(logits)[None, None]
    if aligned:
        tensor = enlarge(tensor, (32, 32), mode="bilinear", align_corners=True)
    logits_HW = enlarge(tensor, (height, width), mode="bilinear", align_corners=False)[0, 0].numpy()
    mask_HW = mask_from_logits(logits, height, width, aligned_to_px=32 if aligned else None)
    # Where they differ the logit is 0 but for rounding. OpenCV before 5 places samples on a grid of
    # 1/32 cell, which at a slope of a few logits a cell is a tenth.
    assert np.abs(logits_HW[mask_HW != (logits_HW > 0)]).max(initial=0.0) < (
        0.1 if aligned else 1e-5
    )
    assert 0.2 < mask_HW.mean() < 0.8


def test_softmax_is_exact_on_known_values() -> None:
    logits = np.log(np.array([[0.2, 0.3, 0.5], [0.98, 0.01, 0.01]], np.float32)) + 7
    np.testing.assert_allclose(softmax(logits), [[0.2, 0.3, 0.5], [0.98, 0.01, 0.01]], rtol=1e-5)
    assert softmax(logits).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_softmax_survives_large_logits(dtype: type[np.floating[Any]]) -> None:
    probabilities = softmax(np.array([60000.0, -60000.0, 59990.0], dtype))
    assert np.isfinite(probabilities).all()
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-3)
    assert probabilities.argmax() == 0


def test_class_probabilities_are_a_softmax_or_a_sigmoid_of_each() -> None:
    logits_K = np.array([-800.0, 0.0, 2.0, 800.0], np.float32)
    np.testing.assert_array_equal(class_probabilities(logits_K, True), softmax(logits_K))
    expected = [0.0, 0.5, 1 / (1 + np.exp(-2.0)), 1.0]
    np.testing.assert_allclose(class_probabilities(logits_K, False), expected, atol=1e-6)
