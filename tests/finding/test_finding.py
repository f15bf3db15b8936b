"""What a finding says, what it writes, and the picture it draws.

Suffixes: H rows, W columns of the image as given.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from findings import made_finding
from numpy.typing import NDArray

from ckd.finding.files import save_finding, write_json
from ckd.finding.finding import Finding
from ckd.finding.outcome import Reason
from ckd.finding.overlay import COARSE_RGB, FINE_RGB, draw_overlay, drawable
from ckd.finding.sentences import NOTICE


def finding(
    height: int = 40, width: int = 60, probabilities: Mapping[str, float] | None = None
) -> Finding:
    """A square lesion in the upper left quarter; the coarse mask is one pixel larger."""
    mask_HW = np.zeros((height, width), np.bool_)
    mask_HW[height // 8 : height // 2, width // 8 : width // 2] = True
    coarse_HW = np.zeros_like(mask_HW)
    coarse_HW[height // 8 - 1 : height // 2 + 1, width // 8 - 1 : width // 2 + 1] = True
    said = {"MEL": 0.25, "SBK": 0.1, "NEV": 0.65} if probabilities is None else probabilities
    return made_finding(
        mask_HW,
        coarse_HW,
        said,
        quality={"lesion_fraction": 0.141, "mask_agreement": 0.8},
        timings_ms={"preprocess": 1.0, "net": 2.0, "postprocess": 0.5, "total": 3.6},
        bundle="tiny@0123456789ab",
        backend="onnxruntime",
    )


def nothing_found(height: int = 480, width: int = 640) -> Finding:
    """The same, of a picture that turned out to be blank."""
    empty_HW = np.zeros((height, width), np.bool_)
    return replace(
        finding(height, width),
        mask_HW=empty_HW,
        coarse_mask_HW=empty_HW,
        probabilities={},
        reason=Reason("blank"),
    )


def image(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    return np.full((height, width, 3), (200, 150, 120), np.uint8)


def has_colour(drawn_HWC: NDArray[np.uint8], rgb: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Where a line is; smooth edges leave thin ones a little paler than they were asked for."""
    return np.asarray(np.abs(drawn_HWC.astype(int) - rgb).max(axis=2) < 40)


def read(path: Path) -> NDArray[np.uint8]:
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert stored is not None
    return np.asarray(stored, dtype=np.uint8)


def test_the_top_label_is_the_most_probable() -> None:
    assert finding().top == "NEV"
    assert finding(probabilities={}).top is None


def test_the_area_counts_pixels_of_the_photograph() -> None:
    assert finding().lesion_area_px == 15 * 23
    assert replace(finding(), mask_HW=None).lesion_area_px == 17 * 25  # the coarse one's
    assert replace(finding(), mask_HW=None, coarse_mask_HW=None).lesion_area_px == 0


def test_the_json_says_everything_but_the_pixels() -> None:
    line = finding().to_json()
    assert "\n" not in line
    assert json.loads(line) == {
        "schema": 2,
        "outcome": "answer",
        "reason": None,
        "decision": None,
        "capture": None,
        "pooled": None,
        "left_out": [],
        "late_ms": None,
        "size_hw": [40, 60],
        "probabilities": {"MEL": 0.25, "SBK": 0.1, "NEV": 0.65},
        "prevalence": None,
        "top": "NEV",
        "lesion_area_px": 345,
        "mask_from": "fine",
        "outline": [{"outer": [[7, 5], [7, 19], [29, 19], [29, 5]], "holes": []}],
        "raw": {
            "probabilities": {"MEL": 0.25, "SBK": 0.1, "NEV": 0.65},
            "top": "NEV",
            "lesion_area_px": 345,
        },
        "trust": "unsigned",
        "quality": {"lesion_fraction": 0.141, "mask_agreement": 0.8},
        "timings_ms": {"preprocess": 1.0, "net": 2.0, "postprocess": 0.5, "total": 3.6},
        "bundle": "tiny@0123456789ab",
        "backend": "onnxruntime",
        "precision": "fp32",
        "notice": NOTICE,
    }
    assert list(json.loads(line)["probabilities"]) == ["MEL", "SBK", "NEV"]


def test_saved_files_hold_what_was_found(tmp_path: Path) -> None:
    one_finding, image_HWC = finding(), image()
    written = save_finding(one_finding, tmp_path / "new" / "out", "case", image_HWC)
    assert written == {
        "json": "case.json",
        "overlay": "case_overlay.png",
        "mask": "case_mask.png",
    }
    out = tmp_path / "new" / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(written.values())
    mask = read(out / "case_mask.png")
    assert set(np.unique(mask)) == {0, 255}
    np.testing.assert_array_equal(mask > 0, one_finding.mask_HW)
    overlay_bgr = read(out / "case_overlay.png")
    np.testing.assert_array_equal(overlay_bgr[..., ::-1], draw_overlay(image_HWC, one_finding))
    assert json.loads((out / "case.json").read_text()) == one_finding.as_dict()


def test_a_point_of_the_outline_takes_one_line_of_the_file(tmp_path: Path) -> None:
    record = {
        "image": "[\n 1,\n 2\n]",
        "points": [[1, -2], [30, 4]],
        "three": [1, 2, 3],
        "one": [5],
    }
    write_json(tmp_path / "record.json", record)
    text = (tmp_path / "record.json").read_text()
    assert json.loads(text) == record
    assert "    [1, -2],\n    [30, 4]\n" in text


def test_a_finding_without_a_mask_saves_none(tmp_path: Path) -> None:
    one_finding = replace(finding(), mask_HW=None, coarse_mask_HW=None)
    assert set(save_finding(one_finding, tmp_path, "case", image())) == {"json", "overlay"}
    np.testing.assert_array_equal(read(tmp_path / "case_overlay.png")[..., ::-1], image())
    assert json.loads((tmp_path / "case.json").read_text())["size_hw"] is None


def test_saving_again_replaces(tmp_path: Path) -> None:
    save_finding(finding(), tmp_path, "case", image())
    empty = replace(finding(), mask_HW=np.zeros((40, 60), np.bool_))
    save_finding(empty, tmp_path, "case", image())
    assert not read(tmp_path / "case_mask.png").any()


# The overlay


@pytest.mark.parametrize(("height", "width"), [(40, 40), (16, 900), (480, 640), (4000, 1000)])
def test_the_overlay_shows_both_borders_at_any_size(height: int, width: int) -> None:
    image_HWC, one_finding = image(height, width), finding(height, width, {})
    before = image_HWC.copy()
    drawn_HWC = draw_overlay(image_HWC, one_finding)
    np.testing.assert_array_equal(image_HWC, before)
    assert drawn_HWC.shape == image_HWC.shape
    assert drawn_HWC.dtype == np.uint8
    changed_HW = (drawn_HWC != image_HWC).any(axis=2)
    assert changed_HW.any()
    changed_HW[-max(1, height // 10) :] = False  # where the legend is
    # Lines lie on the border: nothing far inside, nothing far outside.
    reach = 3 + round(max(min(height, width) / 400, 0.4))
    top, bottom, left, right = height // 8, height // 2, width // 8, width // 2
    assert not changed_HW[top + reach : bottom - reach, left + reach : right - reach].any()
    changed_HW[max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach] = False
    assert not changed_HW.any()
    assert has_colour(drawn_HWC, FINE_RGB).any()


def test_a_legend_tells_two_borders_apart_and_one_needs_none() -> None:
    both = finding(480, 640)
    empty = replace(both, coarse_mask_HW=np.zeros((480, 640), np.bool_))
    fine_only, coarse_only = replace(both, coarse_mask_HW=None), replace(both, mask_HW=None)
    for shown, expected in ((both, True), (empty, False), (fine_only, False), (coarse_only, False)):
        corner_HWC = draw_overlay(image(480, 640), shown)[-30:]
        assert (corner_HWC != image(480, 640)[-30:]).any() == expected
        for colour in (FINE_RGB, COARSE_RGB):
            assert has_colour(corner_HWC, colour).any() == expected
    thumbnail_HWC = draw_overlay(image(150, 150), finding(150, 150))
    assert not (thumbnail_HWC != image(150, 150))[90:].any()


def test_a_coarse_border_alone_is_drawn_thin_and_in_its_own_colour() -> None:
    one_finding = replace(finding(480, 640, {}), mask_HW=None)
    drawn_HWC = draw_overlay(image(480, 640), one_finding)
    assert has_colour(drawn_HWC, COARSE_RGB).sum() > 500
    assert not has_colour(drawn_HWC, FINE_RGB).any()


def test_without_a_finding_nothing_is_said_but_the_reason() -> None:
    nothing = nothing_found()
    assert (nothing.outcome, nothing.top, nothing.lesion_area_px) == ("no_finding", None, 0)
    assert nothing.headline == "There is nothing in the picture to judge."
    record = nothing.as_dict()
    assert record["reason"] == {"code": "blank", "text": nothing.headline}
    assert (record["probabilities"], record["top"], record["outline"]) == (None, None, [])
    assert record["notice"] == NOTICE
    assert record["raw"]["probabilities"] == {"MEL": 0.25, "SBK": 0.1, "NEV": 0.65}
    assert record["raw"]["top"] == "NEV"
    assert record["raw"]["lesion_area_px"] == 180 * 240
    drawn_HWC = draw_overlay(image(480, 640), nothing)
    for colour in (FINE_RGB, COARSE_RGB):
        assert not has_colour(drawn_HWC, colour).any()
    rows = (drawn_HWC != image(480, 640)).any(axis=(1, 2))
    assert 0 < rows.sum() < 70  # two lines of the sentence and no probabilities


def test_people_read_their_own_language_and_programs_english(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CKD_LANGUAGE", "de")
    nothing = nothing_found()
    assert nothing.headline == "Auf dem Bild ist nichts zu beurteilen."
    assert nothing.as_dict()["reason"]["text"] == "There is nothing in the picture to judge."
    for german in ("de_AT.UTF-8", "DE-ch"):
        monkeypatch.setenv("CKD_LANGUAGE", german)
        assert nothing.headline.startswith("Auf dem Bild")
    monkeypatch.setenv("CKD_LANGUAGE", "delta")
    assert nothing.headline == "There is nothing in the picture to judge."
    assert drawable("Läsion, Ähre, groß") == "Laesion, Aehre, gross"


@pytest.mark.parametrize(("side", "has_words"), [(40, False), (159, False), (160, True)])
def test_words_are_drawn_where_there_is_room(side: int, has_words: bool) -> None:
    blank = replace(finding(side, side), mask_HW=None, coarse_mask_HW=None)
    drawn_HWC = draw_overlay(image(side, side), blank)
    assert (drawn_HWC != image(side, side)).any() == has_words


def test_words_at_4000_px_are_as_large_as_the_picture_asks_for() -> None:
    """The strip behind the words takes the same share of a large picture as of a small one."""
    shares = []
    for side in (400, 4000):
        blank = replace(finding(side, side), mask_HW=None, coarse_mask_HW=None)
        changed_HW = (draw_overlay(image(side, side), blank) != image(side, side)).any(axis=2)
        shares.append((changed_HW.any(axis=1).mean(), changed_HW.any(axis=0).mean()))
    np.testing.assert_allclose(shares[0], shares[1], atol=0.06)
    assert 0.1 < shares[0][0] < 0.5


def test_a_frame_that_is_a_read_only_view_is_drawn_on_a_copy() -> None:
    frame_HWC = image(480, 640)[::2, ::2, ::-1]
    frame_HWC.flags.writeable = False
    drawn_HWC = draw_overlay(frame_HWC, finding(240, 320))
    assert (drawn_HWC != frame_HWC).any()
    assert drawn_HWC.flags.c_contiguous


@pytest.mark.parametrize(
    ("probabilities", "top"),
    [({"MEL": 0.2, "SBK": 0.7}, "SBK"), ({"MEL": 0.4, "SBK": 0.5}, None), ({}, None)],
)
def test_where_labels_do_not_exclude_each_other_there_may_be_no_top(
    probabilities: dict[str, float], top: str | None
) -> None:
    assert replace(finding(probabilities=probabilities), exclusive=False).top == top


def test_the_headline_is_the_top_in_words() -> None:
    assert finding().headline == "nevus"
    assert finding(probabilities={}).headline == ""
    none = replace(finding(probabilities={"MEL": 0.4, "SBK": 0.3}), exclusive=False)
    assert none.headline == "none of MEL, SBK"
    assert none.as_dict()["top"] is None
    likely = replace(finding(probabilities={"MEL": 0.4, "SBK": 0.9}), exclusive=False)
    assert likely.headline == "seborrheic keratosis"


def test_that_no_label_is_likely_is_said_on_the_overlay() -> None:
    low = replace(finding(480, 640, {"MEL": 0.4, "SBK": 0.3}), mask_HW=None, coarse_mask_HW=None)
    heights = [
        (draw_overlay(image(480, 640), f) != image(480, 640)).any(axis=(1, 2)).sum()
        for f in (replace(low, exclusive=False), low)
    ]
    assert heights[0] > heights[1]  # one more line, above the probabilities


def test_a_coarse_outline_in_place_of_a_fine_one_is_dashed() -> None:
    disc_HW = np.zeros((480, 640), np.uint8)
    cv2.circle(disc_HW, (400, 280), 150, 1, cv2.FILLED)
    pieces = []
    for left_out in ((), ("fine_mask",)):
        found = made_finding(None, disc_HW > 0, {}, left_out=left_out)
        drawn_HWC = draw_overlay(image(480, 640), found)
        line_HW = has_colour(drawn_HWC, COARSE_RGB)[100:440].astype(np.uint8)
        pieces.append(cv2.connectedComponents(cv2.dilate(line_HW, np.ones((3, 3))))[0] - 1)
        assert has_colour(drawn_HWC[440:, :200], COARSE_RGB).any() == bool(left_out)  # the legend
    assert pieces[0] == 1
    assert 30 < pieces[1] < 100
