"""What was found is drawn where it is in the photograph."""

from typing import Any

import numpy as np
import pytest
from rendered_targets import TINT, drawn_chart, drawn_ruler
from tests.runtime.unit.test_ruler import RULERS, ruler

from ckd.finding.overlay import FINE_RGB
from ckd.runtime.unit import draw_chart, draw_ruler, fit_colour, measure_scale
from ckd.runtime.unit.colour import code_of, light_of
from ckd.runtime.unit.patches import LIGHT_N3, NAMES


@pytest.mark.parametrize("settings", [{}, {"turned_deg": 31.0, "slant": 3e-4}, {"mirrored": True}])
def test_each_patch_has_its_colour_beside_that_of_the_chart(settings: dict[str, Any]) -> None:
    photo_HWC = drawn_chart(LIGHT_N3, tint=TINT, patch_px=44, **settings)
    fit = fit_colour(photo_HWC, "photo")
    drawn_HWC = draw_chart(photo_HWC, fit)
    assert (photo_HWC == drawn_chart(LIGHT_N3, tint=TINT, patch_px=44, **settings)).all()
    for number, corners_42 in enumerate(fit.patches.corners_N42):
        corrected, own = (corners_42[list(half)].mean(axis=0) for half in ((0, 1, 3), (1, 2, 3)))
        (x, y), chart = np.round(own).astype(int), code_of(LIGHT_N3[number])
        np.testing.assert_allclose(drawn_HWC[y, x], chart, atol=1)
        x, y = np.round(corrected).astype(int)
        if NAMES[number] != "cyan":  # which no screen can show
            np.testing.assert_allclose(drawn_HWC[y, x], chart, atol=9)
        assert np.abs(drawn_HWC[y, x] - photo_HWC[y, x].astype(float)).max() > 3
        seen = light_of(photo_HWC[y, x].astype(float))  # so it lies on the patch that was measured
        np.testing.assert_allclose(seen, fit.patches.light_N3[number], atol=0.01)


@pytest.mark.parametrize("name", RULERS)
def test_each_line_lies_on_a_tick(name: str) -> None:
    px_per_mm, settings = RULERS[name]
    photo_HWC = ruler(px_per_mm, **settings)
    scale = measure_scale(photo_HWC, 1.0, "photo")
    assert scale.ticks_K22.shape == (scale.num_ticks, 2, 2)
    middles_K2 = scale.ticks_K22.mean(axis=1)
    steps = []
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):  # a row of ticks may be seen thicker than they are
        along_K2 = scale.ticks_K22[:, 0] * (1 - share) + scale.ticks_K22[:, 1] * share
        between_K2 = (along_K2[1:] + along_K2[:-1]) / 2
        ink, ground = (
            np.median([photo_HWC[y, x].mean() for x, y in np.round(points_K2).astype(int)])
            for points_K2 in (along_K2, between_K2)
        )
        steps.append(ink - ground)
    strongest = max(steps, key=abs)
    assert (strongest > 0) == settings.get("bright", False)
    assert abs(strongest) > 50
    drawn_HWC = draw_ruler(photo_HWC, scale)
    for x, y in np.round(middles_K2[len(middles_K2) // 2 :]).astype(int):
        assert np.abs(drawn_HWC[y, x] - np.array(FINE_RGB, float)).max() < 120


def test_a_small_photograph_has_lines_and_no_text() -> None:
    photo_HWC = drawn_ruler(7.3, size_hw=(150, 200))
    drawn_HWC = draw_ruler(photo_HWC, measure_scale(photo_HWC, 1.0, "photo"))
    assert (drawn_HWC[:40] == photo_HWC[:40]).all()
    assert (drawn_HWC != photo_HWC).any()
