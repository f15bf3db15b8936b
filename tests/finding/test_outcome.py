"""When there is nothing to judge: blank pictures, and masks that are not those of a lesion."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from findings import tiny_spec
from numpy.typing import NDArray

from ckd.contract.errors import BundleError
from ckd.contract.spec import OutputSpec, Section
from ckd.finding.finder import Finder, NotFinite
from ckd.finding.outcome import LinearScore, OutcomeRule, Reason, is_blank
from ckd.finding.signs import mask_signs, sign_names

BOTH = OutputSpec(mask_logits="fine", coarse_logits="coarse")
SIDE = 192


def noise(sigma: float, level: float = 0.0) -> NDArray[np.uint8]:
    draws = np.random.default_rng(0).normal(level, sigma, (SIDE, SIDE, 3))
    return np.clip(draws, 0, 255).astype(np.uint8)


def flat(*rgb: int) -> NDArray[np.uint8]:
    return np.full((SIDE, SIDE, 3), rgb, np.uint8)


def lens_cap() -> NDArray[np.uint8]:
    """Light that leaks in at the rim, and noise."""
    picture = noise(4, 8).astype(np.float32)
    rows = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None]
    return np.asarray(picture + 22 * rows**4, np.uint8)


def unevenly_lit() -> NDArray[np.uint8]:
    """A white wall, darker at the rim and to one side."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    light = 235 - 40 * (x**2 + y**2) + 25 * x
    draws = np.random.default_rng(1).normal(0, 2, (SIDE, SIDE, 3))
    return np.asarray(np.clip(light[..., None] + draws, 0, 255), np.uint8)


def lesion(skin: tuple[int, ...], dark: tuple[int, ...]) -> NDArray[np.uint8]:
    picture = flat(*skin)
    cv2.circle(picture, (90, 100), 40, dark, -1)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 4), np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        flat(0, 0, 0),
        flat(255, 255, 255),
        flat(200, 150, 130),
        noise(6),
        noise(5, 128),
        lens_cap(),
        unevenly_lit(),
    ],
    ids=["black", "white", "skin colour", "dark noise", "grey noise", "lens cap", "uneven light"],
)
def test_a_picture_of_nothing_is_blank_at_any_size(picture: NDArray[np.uint8]) -> None:
    assert is_blank(picture)
    assert is_blank(np.ascontiguousarray(picture[::4, ::4]))


@pytest.mark.parametrize(
    ("skin", "dark"),
    [
        ((225, 180, 165), (120, 70, 55)),
        ((95, 62, 48), (58, 38, 32)),
        ((205, 165, 150), (190, 148, 134)),
    ],
    ids=["light skin", "dark skin", "faint lesion"],
)  # fmt: skip
def test_a_lesion_is_not_blank(skin: tuple[int, ...], dark: tuple[int, ...]) -> None:
    assert not is_blank(lesion(skin, dark))


@pytest.mark.parametrize("pixels", [5, 8, 16])
def test_a_small_mole_on_even_skin_is_not_blank(pixels: int) -> None:
    picture = flat(225, 180, 165)
    cv2.circle(picture, (130, 60), pixels // 2, (110, 70, 60), -1)
    assert not is_blank(picture)


def blob(peak: float, floor: float, radius: float = 12, centres: int = 1) -> NDArray[np.float32]:
    """Logits [1, 1, 48, 48] that are high in one or more discs."""
    y, x = np.mgrid[:48, :48].astype(np.float32)
    distance = np.full((48, 48), np.inf, np.float32)
    for number in range(centres):
        cy, cx = (24, 24) if centres == 1 else (8 + 16 * (number // 3), 8 + 16 * (number % 3))
        distance = np.minimum(distance, np.hypot(y - cy, x - cx))
    inside = 1 / (1 + np.exp(distance - radius))
    return np.asarray(floor + (peak - floor) * inside, np.float32)[None, None]


def test_signs_tell_a_lesion_from_faint_and_broken_masks() -> None:
    sure = mask_signs(BOTH, {"fine": blob(8, -8), "coarse": blob(7, -7)})
    faint = mask_signs(BOTH, {"fine": blob(0.5, -2), "coarse": blob(0.5, -2)})
    pieces = mask_signs(BOTH, {"fine": blob(8, -8, 4, 9), "coarse": blob(7, -7)})
    assert tuple(sure) == sign_names(BOTH)
    assert sure["fine_peak"] > faint["fine_peak"] + 5
    assert sure["fine_floor"] < faint["fine_floor"] - 4
    assert sure["fine_decided"] > 0.9 > faint["fine_decided"]
    assert pieces["fine_ragged"] > sure["fine_ragged"] + 0.5
    assert sure["alike"] > 0.95 > 0.5 > pieces["alike"]
    # A round lesion's border is the perimeter of its square of the same area or a little less.
    assert np.exp(sure["fine_ragged"]) == pytest.approx(4, rel=0.2)


def test_signs_are_finite_and_those_of_any_resolution() -> None:
    huge = mask_signs(
        BOTH, {"fine": blob(1e30, -1e30), "coarse": np.zeros((1, 1, 6, 6), np.float16)}
    )
    assert np.isfinite([*huge.values()]).all()
    large = cv2.resize(blob(8, -8)[0, 0], (192, 192))[None, None]
    one, other = (
        mask_signs(replace(BOTH, coarse_logits=None), {"fine": f}) for f in (blob(8, -8), large)
    )
    assert one == pytest.approx(other, abs=0.1)
    assert tuple(one) == sign_names(replace(BOTH, coarse_logits=None))
    assert sign_names(OutputSpec(class_logits="k")) == ()
    assert mask_signs(OutputSpec(class_logits="k"), {}) == {}


RULE = OutcomeRule(
    {
        "no_skin": LinearScore({"alike": 1.0}, 0.3),
        "no_lesion": LinearScore({"fine_peak": 1.0}, 2.0),
    }
)


@pytest.mark.parametrize(
    ("alike", "peak", "is_outlined", "code"),
    [
        (0.9, 5.0, True, None),
        (0.9, 1.0, True, "no_lesion"),
        (0.1, 1.0, True, "no_skin"),
        (0.9, 5.0, False, "no_lesion"),
        (0.3, 2.0, True, None),
    ],
)
def test_the_first_score_that_is_too_low_is_the_reason(
    alike: float, peak: float, is_outlined: bool, code: str | None
) -> None:
    reason = RULE.reason({"alike": alike, "fine_peak": peak}, is_outlined=is_outlined)
    assert reason == (None if code is None else Reason(code))
    assert OutcomeRule({}).reason({}, is_outlined=False) is None  # nothing was fitted
    no_number = {"alike": float("nan"), "fine_peak": 9.0}
    assert RULE.reason(no_number, is_outlined=True) == Reason("no_skin")


def with_outcome(content: dict[str, Any]) -> Any:
    spec = tiny_spec()
    return replace(spec, sections={"outcome": Section(content)})


def test_the_rule_of_a_bundle_is_read_back() -> None:
    spec = tiny_spec()
    names = sign_names(spec.outputs)
    rule = OutcomeRule({code: LinearScore({names[0]: 1.5}, -2.0) for code in RULE.scores})
    assert OutcomeRule.of(with_outcome(rule.as_content())) == rule
    assert OutcomeRule.of(spec) == OutcomeRule({})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("no_skin"), "it holds no_lesion, expected no_skin, no_lesion"),
        (lambda c: c.update(no_colour={}), "it holds no_skin, no_lesion, no_colour, expected"),
        (lambda c: c.update(no_skin=3), "no_skin is no object"),
        (
            lambda c: c["no_skin"].update(at_most=1),
            "no_skin holds weights, at_least, at_most, expected wei",
        ),
        (lambda c: c["no_lesion"].update(at_least="much"), "at_least of no_lesion is 'much'"),
        (lambda c: c["no_lesion"].update(at_least=True), "at_least of no_lesion is 'True'"),
        (lambda c: c["no_lesion"].update(weights=[1]), "weights of no_lesion is no object"),
        (lambda c: c["no_lesion"]["weights"].update(colour=1), "'colour' is no figure of this"),
        (lambda c: c["no_skin"].update(at_least=float("inf")), "at_least of no_skin is 'inf'"),
        (
            lambda c: c["no_skin"]["weights"].update(alike=1e308),
            "alike of weights of no_skin is '1e.308'",
        ),
        (
            lambda c: c["no_skin"]["weights"].update(alike=10**400),
            "alike of weights of no_skin is '1000",
        ),
    ],
)
def test_a_malformed_section_is_refused(change: Callable[[Any], Any], words: str) -> None:
    content = {code: {"weights": {"fine_peak": 1.0}, "at_least": 0.0} for code in RULE.scores}
    change(content)
    with pytest.raises(BundleError, match=words):
        OutcomeRule.of(with_outcome(content))


def finder_and_logits(**sections: Section) -> tuple[Finder, dict[str, NDArray[np.float32]]]:
    spec = replace(tiny_spec(), sections=sections)
    logits = {
        name: np.full(shape, 8 if len(shape) == 4 else 0, np.float32)
        for name, shape in spec.shapes.items()
        if name in spec.outputs.names()
    }
    return Finder(spec, "tiny@0", "onnxruntime", "fp32"), logits


def test_a_blank_picture_has_no_finding_whatever_the_networks_say() -> None:
    finder, logits = finder_and_logits()
    found = finder(logits, (40, 50), lesion((225, 180, 165), (120, 70, 55)))
    assert (found.outcome, found.raw.mask_HW is found.mask_HW) == ("answer", True)
    nothing = finder(logits, (40, 50), flat(0, 0, 0))
    assert nothing.reason == Reason("blank")
    assert nothing.mask_HW is not None
    assert nothing.mask_HW.shape == (40, 50)
    assert not nothing.mask_HW.any()
    assert nothing.probabilities == {}
    assert nothing.raw.probabilities == found.probabilities


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_an_error_and_no_finding(value: float) -> None:
    finder, logits = finder_and_logits()
    for name in logits:
        spoilt = {**logits, name: logits[name].copy()}
        spoilt[name].flat[-1] = value
        with pytest.raises(NotFinite, match=rf"no usable numbers for this picture. \({name}\)"):
            finder(spoilt, (40, 50), flat(0, 0, 0))


def test_a_bundle_with_sections_is_judged_by_them() -> None:
    low = {"weights": {"fine_peak": 1.0}, "at_least": 20.0}
    never = {"weights": {}, "at_least": 0.0}
    outcome = Section({"no_skin": never, "no_lesion": low})
    finder, logits = finder_and_logits(outcome=outcome)
    found = finder(logits, (40, 50), lesion((225, 180, 165), (120, 70, 55)))
    assert found.reason == Reason("no_lesion")
    # Clean-up that leaves nothing of a mask leaves nothing to answer about.
    mask = Section({"least_share": 0.0, "fills_holes": False, "least_fraction": 1.0})
    outcome = Section({"no_skin": never, "no_lesion": never})
    for sections, code in (({}, None), ({"mask": mask}, "no_lesion")):
        finder, logits = finder_and_logits(outcome=outcome, **sections)
        for name in logits:  # lesion in one half
            if logits[name].ndim == 4:
                logits[name][..., : logits[name].shape[-1] // 2] = -8
        found = finder(logits, (40, 50), lesion((225, 180, 165), (120, 70, 55)))
        assert found.reason == (None if code is None else Reason(code))
