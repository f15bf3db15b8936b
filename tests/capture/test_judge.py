"""The judge of a bundle and of a unit, and what a cascade says of a capture.

Suffixes: H rows, W columns.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from findings import made_finding, tiny_spec
from numpy.typing import NDArray
from tests.capture.rig import LIMITS, blurred, capture
from tests.runtime.photographs import edit_spec, photo

from ckd.capture import CHECKS, CaptureJudge
from ckd.contract.errors import BundleError, UsageError
from ckd.contract.spec import Section
from ckd.finding.capture import HINTS, Capture
from ckd.finding.outcome import Reason, is_blank
from ckd.finding.sentences import LANGUAGES, sentence
from ckd.picture.resize import network_image
from ckd.runtime import Cascade


@pytest.fixture
def judging(bundle_copy: Path) -> Iterator[Cascade]:
    """The tiny bundle, which judges captures."""
    section = {"content": LIMITS, "informative": False}
    edit_spec(bundle_copy, lambda tree: tree.update(sections={"capture": section}))
    with Cascade.load(bundle_copy, "onnxruntime", num_threads=1) as cascade:
        yield cascade


def test_a_photograph_s_hints_stand_beside_its_answer(judging: Cascade) -> None:
    image_HWC, _ = capture()
    sharp, soft = (judging.predict(one) for one in (image_HWC, blurred(image_HWC, 14)))
    assert sharp.capture is not None
    assert soft.capture is not None
    assert "out_of_focus" not in sharp.capture.hints
    assert "out_of_focus" in soft.capture.hints
    assert soft.reason is None
    assert soft.probabilities
    assert soft.capture.shown in soft.coaching
    said = json.loads(soft.to_json())["capture"]
    assert not said["good"]
    assert {"code": "out_of_focus", "text": "Focus."} in said["hints"]
    assert set(said["scores"]) <= set(CHECKS)
    assert list(soft.timings_ms)[-2:] == ["capture", "total"]


def test_a_bundle_without_the_section_judges_no_capture(tiny_bundle: Path) -> None:
    with Cascade.load(tiny_bundle, "onnxruntime", num_threads=1) as cascade:
        finding = cascade.predict(photo(0))
    assert (cascade.judge, finding.capture) == (None, None)
    assert json.loads(finding.to_json())["capture"] is None


def test_what_a_network_saw_alone_is_not_judged(judging: Cascade) -> None:
    """A journal has no more; a blur that is gone in it cannot be told."""
    small_SS3 = network_image(capture()[0], judging.spec.image_size)
    assert judging.analyse_input(small_SS3, (1080, 1080)).capture is None


@pytest.mark.parametrize(
    ("code", "picture", "hint"),
    [
        ("blank", lambda: np.zeros((1080, 1080, 3)), "lens_cap"),
        ("blank", lambda: np.random.default_rng(0).uniform(0, 30, (1080, 1080, 3)), "lens_cap"),
        ("blank", lambda: np.full((1080, 1080, 3), 255), "over_exposed"),
        ("blank", lambda: np.full((1080, 1080, 3), (190, 150, 130)), "no_skin"),
        ("blank", lambda: capture()[0] * 0.15, "under_exposed"),
        ("no_skin", lambda: capture()[0], "no_skin"),
    ],
)
def test_what_the_outcome_says_is_a_hint_and_not_measured_again(
    code: str, picture: Callable[[], NDArray[Any]], hint: str
) -> None:
    image_HWC = picture().astype(np.uint8)
    seen_SS3 = network_image(image_HWC, 192)
    assert is_blank(seen_SS3) == (code == "blank")
    empty_HW = np.zeros((1080, 1080), np.bool_)
    nothing = made_finding(empty_HW, None, {}, reason=Reason(code), seen_SS3=seen_SS3)
    assert CaptureJudge(LIMITS).judged(image_HWC, nothing).capture == Capture((hint,))


def test_of_a_picture_without_a_lesion_the_rest_is_judged() -> None:
    image_HWC, mask_HW = capture()
    soft_HWC = blurred(image_HWC, 14)
    nothing = made_finding(
        np.zeros_like(mask_HW), None, {},
        reason=Reason("no_lesion"), seen_SS3=network_image(soft_HWC, 192),
    )  # fmt: skip
    judged = CaptureJudge(LIMITS).judged(soft_HWC, nothing)
    assert judged.capture is not None
    assert judged.capture.hints[0] == "out_of_focus"


def test_a_unit_sets_some_limits_and_the_scale() -> None:
    judge = CaptureJudge(LIMITS).for_unit({"focus": -9.0}, 0.01)
    assert judge.limits == {**LIMITS, "focus": -9.0}
    assert judge.mm_per_px is None  # limits without a scale hold without one
    assert CaptureJudge(LIMITS).for_unit({"focus": -9.0, "motion": 2.0}, 0.01).mm_per_px == 0.01
    with pytest.raises(UsageError, match=r"\[coach\]: no check 'fokus'; expected focus, motion"):
        CaptureJudge(LIMITS).for_unit({"fokus": 1.0}, None)


@pytest.mark.parametrize(
    "change",
    [
        lambda limits: limits.pop("focus"),
        lambda limits: limits.update(other=1.0),
        lambda limits: limits.update(focus="high"),
        lambda limits: limits.update(focus=1e9),
    ],
)
def test_a_malformed_section_is_refused(change: Any) -> None:
    limits: dict[str, Any] = dict(LIMITS)
    change(limits)
    spec = replace(tiny_spec(), sections={"capture": Section(limits)})
    with pytest.raises(BundleError, match="section capture"):
        CaptureJudge.of(spec)


def test_every_hint_has_its_sentences_and_a_check_or_an_outcome() -> None:
    for code in HINTS:
        for language in LANGUAGES:
            assert len(sentence(f"hint_{code}", language)) <= 30
            assert sentence(f"why_{code}", language)
    assert set(HINTS) == {check.hint for check in CHECKS.values()} | {"lens_cap", "no_skin"}
