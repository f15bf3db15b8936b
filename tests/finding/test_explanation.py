"""What speaks for a label: the figures, the picture, and the files.

Suffixes: H rows, W columns of the photograph; h, w of a map; C channels in RGB order.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from findings import made_finding
from numpy.typing import NDArray

from ckd.contract.spec import CascadeSpec, NodeSpec, OutputSpec
from ckd.finding.answers import answers_from_logits
from ckd.finding.explanation import (
    BORDER_RGB,
    FULL_LOG_ODDS,
    colour_over_skin,
    draw_explanation,
    draw_heat,
    evidence,
)
from ckd.finding.files import save_finding
from ckd.finding.finding import Finding
from ckd.finding.outcome import Reason

LABELS = ("MEL", "SBK", "NEV")


def photo(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), (200, 150, 120), np.uint8)


def reals(rows: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def maps() -> dict[str, NDArray[np.float32]]:
    """Only the upper right place speaks for MEL; all of them add 5 to every logit."""
    maps = {label: np.full((2, 3), 5, np.float32) for label in LABELS}
    maps["MEL"][0, 2] += FULL_LOG_ODDS
    maps["MEL"][1] -= 4
    return maps


def finding(height: int = 300, width: int = 400) -> Finding:
    mask_HW = np.zeros((height, width), np.bool_)
    mask_HW[height // 3 : height // 2, width // 4 : width // 2] = True
    probabilities = {"MEL": 0.6, "SBK": 0.1, "NEV": 0.3}
    return made_finding(mask_HW, None, probabilities, class_maps=maps())


def test_what_speaks_for_all_exclusive_labels_speaks_for_none() -> None:
    expected_hw = reals([[0, 0, FULL_LOG_ODDS], [-4, -4, -4]])
    np.testing.assert_allclose(evidence(maps(), "MEL", exclusive=True), expected_hw)
    shifted = {label: map_hw + 100 for label, map_hw in maps().items()}
    np.testing.assert_allclose(evidence(shifted, "MEL", exclusive=True), expected_hw)
    # Two labels: the log-odds of the one against the other.
    two = {"MEL": reals([[3]]), "NEV": reals([[1]])}
    np.testing.assert_allclose(evidence(two, "NEV", exclusive=True), reals([[-2]]))


def test_a_label_that_stands_for_itself_has_its_own_map() -> None:
    np.testing.assert_array_equal(evidence(maps(), "MEL", exclusive=False), maps()["MEL"])
    only = {"MEL": maps()["MEL"]}
    np.testing.assert_array_equal(evidence(only, "MEL", exclusive=True), maps()["MEL"])


def test_only_what_speaks_for_it_is_coloured_and_lies_where_it_is() -> None:
    drawn_HWC = draw_heat(photo(200, 300), reals([[0, 0, 1], [-1, -1, -1]]))
    saturation_HW = np.ptp(drawn_HWC.astype(int), axis=2)
    assert saturation_HW[50, 250] > 100
    assert not saturation_HW[:, :100].any()
    assert not saturation_HW[151:].any()
    # Above the full scale nothing changes any more, and between two places it only falls.
    stronger_HWC = draw_heat(photo(200, 300), reals([[0, 0, 3]]))
    np.testing.assert_array_equal(stronger_HWC[50, 280], drawn_HWC[20, 280])
    lightness = [np.mean(colour_over_skin(level)) for level in np.linspace(0.5, 1, 6)]
    assert lightness == sorted(lightness)


def test_colours_have_one_scale_in_every_picture() -> None:
    """Half the evidence is half as far on the scale, not as strong as the image's largest."""
    whole = finding()
    half = replace(whole, class_maps={k: m * np.float32(0.5) for k, m in whole.class_maps.items()})
    place = (40, 380)
    expected = draw_heat(photo(300, 400), reals([[0, 0, 0.5], [0, 0, 0]]))[place]
    np.testing.assert_array_equal(draw_explanation(photo(300, 400), half)[place], expected)
    assert (draw_explanation(photo(300, 400), whole)[place] != expected).any()


def test_the_picture_has_words_a_scale_and_the_border() -> None:
    given_HWC = photo(300, 400)
    drawn_HWC = draw_explanation(given_HWC, finding())
    assert (given_HWC == photo(300, 400)).all()
    white_HW = np.asarray((np.abs(drawn_HWC.astype(int) - BORDER_RGB) < 40).all(axis=2))
    assert white_HW[95:155, 95:205].sum() > 250  # 100 x 50 px around; smooth edges are paler
    nothing = dict.fromkeys(LABELS, np.zeros((1, 1), np.float32))
    wordless = replace(finding(), mask_HW=None, class_maps=nothing)
    plain_HWC = draw_explanation(photo(300, 400), wordless)
    grey = draw_heat(photo(1, 1), np.zeros((1, 1), np.float32))[0, 0]
    changed_HW = (plain_HWC != grey).any(axis=2)
    assert changed_HW[:35, :100].mean() > 0.98  # the strip behind the words
    assert not changed_HW[60:270].any()
    bar_HWC = plain_HWC[285:, :250].astype(int)
    for level in (0.5, 1.0):
        colour = np.array(colour_over_skin(level))
        assert (np.abs(bar_HWC - colour).max(axis=2) < 6).any()
    thumbnail_HWC = draw_explanation(photo(150, 150), wordless)
    assert (thumbnail_HWC == grey).all()


def test_no_lesion_is_said_here_too() -> None:
    nothing = replace(finding(), probabilities={}, class_maps={}, reason=Reason("no_lesion"))
    drawn_HWC = draw_explanation(photo(300, 400), nothing)
    assert (drawn_HWC == drawn_HWC[..., :1]).all()  # no colour stands for a label
    assert len(np.unique(drawn_HWC[:40])) > 5  # the sentence


def test_a_finding_without_maps_explains_nothing(tmp_path: Path) -> None:
    bare = replace(finding(), class_maps={})
    with pytest.raises(ValueError, match="--explain"):
        draw_explanation(photo(300, 400), bare)
    assert "explanation" not in save_finding(bare, tmp_path, "case", photo(300, 400))
    assert not (tmp_path / "case_explanation.png").exists()


def test_the_picture_is_saved_and_its_pixels_stay_out_of_the_json(tmp_path: Path) -> None:
    written = save_finding(finding(), tmp_path, "case", photo(300, 400))
    assert written["explanation"] == "case_explanation.png"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written.values())
    stored = cv2.imread(str(tmp_path / "case_explanation.png"))
    assert stored is not None
    expected_HWC = draw_explanation(photo(300, 400), finding())
    np.testing.assert_array_equal(stored[..., ::-1], expected_HWC)
    record = json.loads((tmp_path / "case.json").read_text())
    assert record == finding().as_dict()
    assert record == replace(finding(), class_maps={}).as_dict()


def test_answers_keep_maps_and_features_of_their_own() -> None:
    spec = CascadeSpec(
        name="one",
        system="one",
        labels=LABELS,
        tasks=LABELS,
        shapes={
            "image": (1, 32, 32, 3),
            "logits": (1, 3),
            "class_map": (1, 3, 2, 2),
            "features": (1, 4),
        },
        dtypes={
            "image": {"fp16": "uint8"},
            "logits": {"fp16": "float16"},
            "class_map": {"fp16": "float16"},
            "features": {"fp16": "float16"},
        },
        nodes=(
            NodeSpec("one", ("image",), ("logits", "class_map", "features"), {"fp16": "one.onnx"}),
        ),
        outputs=OutputSpec("logits", class_map="class_map", features="features"),
    )
    buffer = np.arange(12, dtype=np.float16).reshape(1, 3, 2, 2)
    pooled = np.arange(4, dtype=np.float16)[None]
    logits = {"logits": np.zeros((1, 3), np.float16), "class_map": buffer, "features": pooled}
    answers = answers_from_logits(spec, logits, 60, 90)
    buffer[:] = pooled[:] = -1  # the next run
    assert list(answers.class_maps) == list(LABELS)
    assert {map_hw.dtype for map_hw in answers.class_maps.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(answers.class_maps["SBK"], [[4, 5], [6, 7]])
    assert answers.features_D is not None
    assert answers.features_D.dtype == np.float32
    np.testing.assert_array_equal(answers.features_D, [0, 1, 2, 3])
    without = replace(spec.outputs, features=None)
    assert answers_from_logits(spec, logits, 60, 90, outputs=without).features_D is None
