"""What is made of probabilities: operating points, label sets, doubts, and when to refer."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from deciding import deciding_sections
from findings import tiny_spec
from numpy.typing import NDArray

from ckd.contract.errors import BundleError, UsageError
from ckd.contract.spec import CascadeSpec, Section
from ckd.finding.decision import Decider, Decision
from ckd.finding.doubts import FEATURE_FILE
from ckd.finding.feature_space import FeatureSpace
from ckd.finding.finder import Finder
from ckd.finding.label_sets import conformal_rank
from ckd.finding.operating_points import predictive_values
from ckd.finding.verdict import Steps, Verdict, firm_parts


def no_file(name: str) -> bytes:
    raise AssertionError(name)


def deciding(**choices: Any) -> CascadeSpec:
    spec = tiny_spec()
    return replace(spec, sections=deciding_sections(spec, **choices))


def decided(
    mel: float, sbk: float = 0.1, *, agreement: float = 0.9, point: str | None = None
) -> Decision:
    decider = Decider(deciding(), no_file, point)
    said = {"MEL": mel, "SBK": sbk, "NEV": 1 - mel - sbk}
    decision = decider.decision(said, {"mask_agreement": agreement}, None)
    assert decision is not None
    return decision


@pytest.mark.parametrize(
    ("mel", "sbk", "agreement", "codes", "label_set"),
    [
        (0.05, 0.05, 0.9, (), ("NEV",)),
        (0.2, 0.1, 0.9, ("flagged",), ("NEV",)),
        (0.35, 0.1, 0.9, ("flagged", "set_holds_target"), ("MEL", "NEV")),
        (0.1, 0.62, 0.9, (), ("SBK",)),
        (0.1, 0.1, 0.29, ("masks_disagree",), ("NEV",)),
        (0.25, 0.1, 0.1, ("flagged", "masks_disagree"), ("NEV",)),
    ],
)
def test_each_doubt_refers(
    mel: float,
    sbk: float,
    agreement: float,
    codes: tuple[str, ...],
    label_set: tuple[str, ...],
) -> None:
    decision = decided(mel, sbk, agreement=agreement)
    assert (decision.reasons, decision.label_set) == (codes, label_set)
    assert decision.refer is bool(codes)
    assert decision.flagged is ("flagged" in codes)
    assert [reason["code"] for reason in decision.as_dict()["reasons"]] == list(codes)


def test_an_empty_set_says_that_no_class_fits() -> None:
    spec = deciding(in_set={"MEL": 0.9, "SBK": 0.9, "NEV": 0.9})
    decision = Decider(spec, no_file).decision({"MEL": 0.1, "SBK": 0.1, "NEV": 0.8}, {}, None)
    assert decision is not None
    assert (decision.label_set, decision.reasons) == ((), ("set_empty",))
    assert decision.set_shown == "None of the trained classes fits."


def test_another_point_decides_otherwise_and_nothing_else_changes() -> None:
    screening, specific = decided(0.25), decided(0.25, point="specific")
    assert (screening.operating_point, screening.flagged) == ("screening", True)
    assert (specific.operating_point, specific.flagged) == ("specific", False)
    assert specific.label_set == screening.label_set
    with pytest.raises(UsageError, match="'best': this bundle has screening, balanced, specific"):
        decided(0.25, point="best")


@pytest.mark.parametrize(
    ("precision", "temperature"),
    [("fp32", 1.0), ("fp16", 2.0), ("bf16", 1.0), ("int8", 4.0), ("int8-bf16", 4.0)],
)
def test_each_precision_has_its_temperature(precision: str, temperature: float) -> None:
    spec = deciding()
    content = spec.sections["probabilities"].content
    content["temperature"].update(fp16=2.0, int8=4.0)
    logits = {"logits": np.array([[4.0, 0.0, 1.0]], np.float32)}
    said = Decider(spec, no_file).probabilities(logits, precision)
    assert said is not None
    expected = np.exp(np.array([4.0, 0.0, 1.0]) / temperature)
    np.testing.assert_allclose([*said.values()], expected / expected.sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("prevalence", "expected"),
    [
        ({}, (0.5, 0.2, 0.3)),
        # The odds of melanoma, 1, by (0.02 / 0.98) / (0.2 / 0.8).
        ({"MEL": 0.02}, (0.0754717, 0.3698113, 0.5547170)),
        ({"MEL": 0.2}, (0.5, 0.2, 0.3)),
        ({"MEL": 0.2, "SBK": 0.1, "NEV": 0.7}, (0.5, 0.2, 0.3)),
    ],
)
def test_another_prevalence_moves_what_is_seen_and_no_decision(
    prevalence: Mapping[str, float], expected: tuple[float, ...]
) -> None:
    decider = Decider(deciding(), no_file, prevalence=prevalence)
    fitted = {"MEL": 0.5, "SBK": 0.2, "NEV": 0.3}
    np.testing.assert_allclose([*decider.shown(fitted).values()], expected, atol=1e-6)
    assert decider.prevalence is not None
    assert decider.prevalence["MEL"] == pytest.approx(prevalence.get("MEL", 0.2))
    assert decider.decision(fitted, {}, None) == Decider(deciding(), no_file).decision(
        fitted, {}, None
    )


def test_questions_of_their_own_have_priors_of_their_own() -> None:
    spec = deciding()
    sections = {name: spec.sections[name] for name in ("probabilities", "points")}
    yes_no = replace(spec, outputs=replace(spec.outputs, exclusive=False), sections=sections)
    decider = Decider(yes_no, no_file, prevalence={"MEL": 0.02})
    shown = decider.shown({"MEL": 0.5, "SBK": 0.2, "NEV": 0.3})
    np.testing.assert_allclose([*shown.values()], (0.0754717, 0.2, 0.3), atol=1e-6)


@pytest.mark.parametrize(
    ("prevalence", "words"),
    [
        ({"XX": 0.1}, "the labels of this bundle are MEL, SBK, NEV"),
        ({"MEL": 0.0}, "prevalence of MEL is 0, expected a share between 0 and 1"),
        ({"MEL": float("nan")}, "prevalence of MEL is nan, expected a share"),
        ({"MEL": 0.7, "SBK": 0.3}, "sum to 1, which leaves other labels none"),
        ({"MEL": 0.7, "SBK": 0.2, "NEV": 0.2}, "of all labels sum to 1.1, expected 1"),
    ],
)
def test_a_prevalence_that_cannot_be_is_refused(
    prevalence: Mapping[str, float], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        Decider(deciding(), no_file, prevalence=prevalence)


def test_a_bundle_without_sections_decides_nothing_and_says_so_when_asked() -> None:
    decider = Decider(tiny_spec(), no_file)
    assert decider.decision({"MEL": 1.0}, {}, None) is None
    assert decider.prevalence is None
    with pytest.raises(BundleError, match="has no section points, which this needs"):
        Decider(tiny_spec(), no_file, "balanced")
    with pytest.raises(BundleError, match="has no section probabilities, which this needs"):
        Decider(tiny_spec(), no_file, prevalence={"MEL": 0.1})


@pytest.mark.parametrize(
    ("section", "change", "words"),
    [
        ("probabilities", lambda c: c.pop("bias"), "it holds temperature, prevalence, expected"),
        ("probabilities", lambda c: c["bias"].update(MEL="a"), "MEL of bias is 'a', expected a nu"),
        ("probabilities", lambda c: c["bias"].pop("MEL"), "bias holds SBK, NEV, expected MEL, SBK"),
        ("probabilities", lambda c: c["temperature"].update(fp32=0), "fp32 of temperature is '0'"),
        ("probabilities", lambda c: c["temperature"].update(int8=True), "int8 of temperature is"),
        ("probabilities", lambda c: c["prevalence"].update(MEL=0.9), "prevalence sums to 1.7, exp"),
        ("probabilities", lambda c: c.update(bias=[0, 0, 0]), "bias is no object"),
        ("points", lambda c: c.update(target="XX"), "target is 'XX', expected one of MEL"),
        ("points", lambda c: c.update(default="best"), "default is 'best', expected one"),
        ("points", lambda c: c["points"].pop("specific"), "points holds screening, balanced, expe"),
        ("points", lambda c: c["points"]["balanced"].update(at_least=10**400), "at_least of balan"),
        ("points", lambda c: c["points"]["balanced"].update(found=11), "counts of balanced do not"),
        ("points", lambda c: c["points"]["specific"].update(found=1.5), "found of specific of po"),
        ("points", lambda c: c["points"]["specific"].update(found=0, targets=0), "fitted on no ta"),
        ("points", lambda c: c.update(probabilities="other"), "fitted on probabilities other"),
        ("sets", lambda c: c.update(error_rate=0), "error_rate is '0', expected a number from 0.0"),
        ("sets", lambda c: c["at_least"].update(XX=1), "at_least holds MEL, SBK, NEV, XX, expecte"),
        ("sets", lambda c: c["counted"].update(MEL=-1), "MEL of counted is '-1', expected a whole"),
        ("sets", lambda c: c.update(probabilities=7), "probabilities is '7', expected a text"),
        ("refer", lambda c: c.update(masks_agree=2), "masks_agree is '2', expected a number from"),
        ("refer", lambda c: c.update(unlike_above=5.0), "unlike_above needs a cascade"),
    ],
)  # fmt: skip
def test_a_malformed_section_is_refused(
    section: str, change: Callable[[Any], Any], words: str
) -> None:
    spec = deciding()
    change(spec.sections[section].content)
    with pytest.raises(BundleError, match=f"section {section}: .*{words}"):
        Decider(spec, no_file)


def test_sections_of_other_probabilities_are_refused() -> None:
    spec = deciding()
    spec.sections["probabilities"].content["bias"].update(MEL=0.1)
    with pytest.raises(BundleError, match=r"section points: .* fit both together"):
        Decider(spec, no_file)
    alone = replace(spec, sections={"sets": spec.sections["sets"]})
    with pytest.raises(BundleError, match=r"section sets: .* the bundle's are none"):
        Decider(alone, no_file)


@pytest.mark.parametrize(
    ("count", "rate", "rank"), [(9, 0.1, 9), (8, 0.1, 9), (100, 0.1, 91), (19, 0.05, 19)]
)
def test_ranks_of_conformal_thresholds(count: int, rate: float, rank: int) -> None:
    assert conformal_rank(count, rate) == rank


def test_predictive_values_follow_prevalence() -> None:
    # The table in the literature on screening: sensitivity 0.9, specificity 0.8.
    assert predictive_values(0.9, 0.8, 0.01) == pytest.approx((0.0435, 0.9987), abs=1e-4)
    assert predictive_values(0.0, 1.0, 0.1) == (None, 0.9)


def features(count: int, seed: int) -> NDArray[np.float32]:
    draws = np.random.default_rng(seed).normal(size=(count, 12)) * np.arange(1, 13)
    return np.asarray(draws, np.float32)


def test_what_is_far_from_training_features_is_told() -> None:
    space = FeatureSpace.fitted(features(400, 0))
    near = [space.distance(row) for row in features(200, 1)]
    assert np.mean(np.square(near)) == pytest.approx(12, rel=0.1)
    assert space.distance(features(1, 2)[0] + 200) > 3 * max(near)
    again = FeatureSpace.unpacked(space.packed(), 12)
    assert [again.distance(row) for row in features(200, 1)] == near


def test_a_classifier_that_gives_features_doubts_by_them() -> None:
    spec = deciding()
    shapes = {**spec.shapes, "pooled": (1, 12)}
    cls = replace(spec.node("cls"), outputs=(*spec.node("cls").outputs, "pooled"))
    spec = replace(
        spec,
        shapes=shapes,
        dtypes={**spec.dtypes, "pooled": spec.dtypes["logits"]},
        nodes=tuple(cls if node.name == "cls" else node for node in spec.nodes),
        outputs=replace(spec.outputs, features="pooled"),
        sections={
            **spec.sections, "refer": Section({"masks_agree": None, "unlike_above": 6.0})
        },
    )  # fmt: skip
    packed = FeatureSpace.fitted(features(400, 0)).packed()
    decider = Decider(spec, {FEATURE_FILE: packed}.__getitem__)
    calm = {"MEL": 0.05, "SBK": 0.05, "NEV": 0.9}
    near = decider.decision(calm, {}, features(1, 3)[0])
    far = decider.decision(calm, {}, features(1, 3)[0] + 100)
    assert near is not None
    assert far is not None
    assert (near.reasons, far.reasons) == ((), ("unlike_training",))
    for content, words in [
        (b"junk", "file of training features cannot be used"),
        (FeatureSpace.fitted(features(400, 0)[:, :9]).packed(), "expected 12 features"),
    ]:
        with pytest.raises(BundleError, match=words):
            Decider(spec, {FEATURE_FILE: content}.__getitem__)


@pytest.mark.parametrize(
    ("mel", "firm"),
    [
        (0.9, ("label", "decision", "referral")),
        (0.22, ("label",)),
        (0.31, ("label", "decision", "referral")),  # flagged beyond doubt, whatever the set holds
        (0.45, ("decision", "referral")),  # as probable as a nevus
    ],
)
def test_parts_of_a_verdict_hold_away_from_thresholds(mel: float, firm: tuple[str, ...]) -> None:
    decider = Decider(deciding(), no_file)
    said = {"MEL": mel, "SBK": 0.05, "NEV": 0.95 - mel}
    assert firm_parts(decider, said, {}, None, Steps(0.02, 0.02)) == firm


def test_steps_are_of_what_networks_say_and_decisions_of_what_is_made_of_it() -> None:
    """A bias stretches small steps where a rare label is looked for."""
    stretched = Decider(deciding(bias={"MEL": 2.5, "SBK": 0.0, "NEV": -1.0}), no_file)
    said = {"MEL": 0.035, "SBK": 0.02, "NEV": 0.945}  # 0.54 as fitted, far above 0.2
    steps = Steps(0.0095, 0.02)
    assert firm_parts(stretched, said, {}, None, steps) == ()
    assert firm_parts(stretched, said, {}, None, Steps(0.001, 0.02)) == (
        "label", "decision", "referral",
    )  # fmt: skip
    raw_tie = {"MEL": 0.468, "SBK": 0.469, "NEV": 0.063}  # and MEL is shown by far
    assert "label" in firm_parts(stretched, raw_tie, {}, None, steps)


def test_the_answer_to_a_question_is_firm_away_from_one_half() -> None:
    for value, firm in ((0.51, ()), (0.49, ()), (0.6, ("label",)), (0.4, ("label",))):
        bare = Decider(replace(deciding(), sections={}), no_file)
        said = {"MEL": value, "SBK": 0.1, "NEV": 0.1}
        assert firm_parts(bare, said, {}, None, Steps(0.02, 0.02), exclusive=False) == firm


def test_a_doubt_away_from_its_threshold_is_firm() -> None:
    decider, calm = Decider(deciding(), no_file), {"MEL": 0.01, "SBK": 0.01, "NEV": 0.98}
    for agreement, is_firm in ((0.9, True), (0.33, False), (0.1, True)):
        quality = {"mask_agreement": agreement}
        firm = firm_parts(decider, calm, quality, None, Steps(0.005, 0.02))
        assert ("referral" in firm) == is_firm, agreement


def test_verdicts_say_what_changed() -> None:
    one = Verdict.of("NEV", decided(0.1))
    assert one == Verdict("NEV", decision=False, referral=False)
    assert one.changed(Verdict.of("NEV", decided(0.1, agreement=0.1))) == ("referral",)
    assert one.changed(Verdict.of("MEL", decided(0.9))) == ("label", "decision", "referral")
    assert one.changed(Verdict.of("NEV", None)) == ("decision", "referral")


def test_a_finding_decides_on_fitted_probabilities_and_shows_others() -> None:
    spec = deciding(temperature=2.0)
    logits = {
        name: np.full(spec.shapes[name], 8 if len(spec.shapes[name]) == 4 else 0, np.float32)
        for name in spec.outputs.names()
    }
    logits["logits"] = np.array([[3.0, 0.0, 2.0]], np.float32)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    seen = Finder(spec, "b", "", "fp32", prevalence={"MEL": 0.01})(logits, (40, 40), picture)
    plain = Finder(spec, "b", "", "fp32")(logits, (40, 40), picture)
    assert plain.probabilities["MEL"] == pytest.approx(np.exp(1.5) / (np.exp(1.5) + 1 + np.e))
    assert seen.probabilities["MEL"] < 0.1 < plain.probabilities["MEL"]
    assert seen.decision == plain.decision
    assert seen.raw.probabilities == plain.raw.probabilities
    assert plain.prevalence == {"MEL": 0.2, "SBK": 0.1, "NEV": 0.7}
    nothing = Finder(spec, "b", "", "fp32")(logits, (40, 40), np.zeros((32, 32, 3), np.uint8))
    assert (nothing.decision, nothing.prevalence) == (None, None)
