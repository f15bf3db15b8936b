"""The one resize of photographs to network size.

Suffixes: H rows, W columns, C channels in RGB order.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.picture.resize import network_image


def test_an_image_at_network_size_is_not_touched() -> None:
    image_HWC = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert network_image(image_HWC, 32) is image_HWC


def test_shrinking_averages_over_areas() -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(network_image(blocks.repeat(3, 0).repeat(5, 1), 32), blocks)
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::3] = 240  # point sampling would give stripes, or nothing
    np.testing.assert_array_equal(network_image(stripes, 32), 80)


@pytest.mark.parametrize(("height", "width"), [(512, 768), (1030, 900), (256, 384), (640, 161)])
def test_shrinking_in_steps_is_exact_but_for_rounding(height: int, width: int) -> None:
    """On smooth colours; where neighbours differ much, halved pixels cut at other places."""
    y, x = np.mgrid[0 : 3 : height * 1j, 0 : 4 : width * 1j]
    waves = np.stack([np.sin(x + y), np.cos(2 * x - y), np.sin(3 * y)], axis=2)
    image_HWC = (127.5 + 127.5 * waves).round().astype(np.uint8)
    rows = _area_mean(image_HWC.astype(np.float64), np.linspace(0, height, 33))
    exact = _area_mean(rows.transpose(1, 0, 2), np.linspace(0, width, 33)).transpose(1, 0, 2)
    # Half a step for each pass, of which there are up to three here.
    assert np.abs(network_image(image_HWC, 32) - exact).max() <= 1.5


def _area_mean(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exact mean over fractional intervals of the first axis, from the cumulative sum."""
    total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    below = np.minimum(edges.astype(int), len(values) - 1)
    share = (edges - below).reshape(-1, *[1] * (values.ndim - 1))
    at = total[below] + share * values[below]
    return np.asarray(np.diff(at, axis=0) / np.diff(edges).reshape(share[1:].shape))


@pytest.mark.parametrize(
    ("height", "width"), [(16, 16), (16, 400), (31, 33), (5000, 40), (40, 40000)]
)
def test_any_shape_comes_to_network_size(height: int, width: int) -> None:
    image_HWC = np.zeros((height, width, 3), np.uint8)
    image_HWC[:, : width // 2] = (10, 20, 30)
    small_HWC = network_image(image_HWC, 32)
    assert small_HWC.shape == (32, 32, 3)
    assert small_HWC.dtype == np.uint8
    assert small_HWC[5, 5].tolist() == [10, 20, 30]
    assert small_HWC[5, -5].tolist() == [0, 0, 0]


def test_a_view_in_reversed_channel_order_is_taken(tmp_path: Path) -> None:
    """OpenCV's BGR reversed by a view: negative strides."""
    image_HWC = np.random.default_rng(0).integers(0, 256, (100, 90, 3), np.uint8)
    bgr_view = np.ascontiguousarray(image_HWC[..., ::-1])[..., ::-1]
    np.testing.assert_array_equal(network_image(bgr_view, 32), network_image(image_HWC, 32))
