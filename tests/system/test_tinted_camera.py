"""What a tint costs the embedded bundle, and what the matrix of a photographed chart gives back.

`docs/unit.md` has the figures that this prints (`-s`).

Suffixes: H rows, W columns, C channels in RGB order.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rendered_targets import TINT, drawn_chart, photographed

from ckd.finding.finding import Finding
from ckd.picture import read_rgb
from ckd.picture.folders import photographs_in
from ckd.runtime import Cascade
from ckd.runtime.unit import fit_colour
from ckd.runtime.unit.colour import ColourMatrix, light_of
from ckd.runtime.unit.patches import LIGHT_N3

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CKD_DATA_ISIC2017", ROOT.parent / "shared/data/isic2017_256"))
PHOTOGRAPHS = DATA / "ISIC-2017_Validation_Data"
#: So dark that no patch of the chart is at the sensor's limit.
EXPOSURE = 0.95


def jaccard(one: Finding, other: Finding) -> float:
    one_HW, other_HW = one.raw.mask_HW, other.raw.mask_HW
    assert one_HW is not None
    assert other_HW is not None
    union = int((one_HW | other_HW).sum())
    return 1.0 if not union else int((one_HW & other_HW).sum()) / union


def is_referred(finding: Finding) -> bool:
    return finding.decision is not None and finding.decision.refer


def away(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    return max(abs(one[label] - other[label]) for label in one)


def tinted(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return photographed(light_of(image_HWC.astype(np.float64)), tint=TINT, noise=0)


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"needs ISIC 2017 in {DATA}")
def test_a_matrix_from_a_chart_gives_the_plain_cameras_answers() -> None:
    chart_HWC = drawn_chart(LIGHT_N3, tint=TINT, turned_deg=20, noise=3, exposure=EXPOSURE)
    colour = ColourMatrix(EXPOSURE * np.array(fit_colour(chart_HWC, "chart").matrix))
    files = photographs_in(PHOTOGRAPHS).files
    changed: dict[str, list[bool]] = {"tinted": [], "with the matrix": []}
    overlap: dict[str, list[float]] = {name: [] for name in changed}
    moved: dict[str, list[float]] = {name: [] for name in changed}
    with Cascade.load(backend="onnxruntime") as cascade:
        for file in files:
            plain_HWC = read_rgb(file)
            expected = cascade.predict(plain_HWC)
            tinted_HWC = tinted(plain_HWC)
            pictures = (tinted_HWC, colour.applied(tinted_HWC))
            for name, image_HWC in zip(changed, pictures, strict=True):
                finding = cascade.predict(image_HWC)
                changed[name].append(is_referred(finding) != is_referred(expected))
                overlap[name].append(jaccard(finding, expected))
                moved[name].append(away(finding.raw.probabilities, expected.raw.probabilities))
    for name in changed:
        print(
            f"{name}: {sum(changed[name])} of {len(files)} referrals changed, probabilities moved "
            f"by {np.median(moved[name]):.3f} (median) to {max(moved[name]):.3f}, Jaccard "
            f"{np.mean(overlap[name]):.3f} (mean), {min(overlap[name]):.3f} (least)"
        )
    # Some lie so near to a threshold that the noise of the chart moves them over it.
    assert sum(changed["with the matrix"]) < sum(changed["tinted"])
    assert np.mean(overlap["with the matrix"]) > 0.99
    assert np.median(moved["with the matrix"]) < np.median(moved["tinted"]) / 3
