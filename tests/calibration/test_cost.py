from pathlib import Path

import numpy as np
import pytest

from ckd.calibration.cost import Budget, Cost, answer, cost_of, groups_of
from ckd.contract.bundle import Bundle
from ckd.contract.confusion import Confusion
from ckd.contract.spec import CascadeSpec
from ckd.data.layouts import read_split
from ckd.data.samples import Sample, SampleSet
from ckd.data.skin_tone import tone_of, typology_angle
from ckd.data.synthetic.write import write_isic2017
from ckd.finding.verdict import Verdict
from ckd.runtime import Cascade
from ckd.scores.images import ImageScore


@pytest.fixture(scope="module")
def spec(tiny_bundle: Path) -> CascadeSpec:
    return Bundle(tiny_bundle).spec


def _samples(labels: list[int]) -> SampleSet:
    made = tuple(Sample(str(i), Path(f"{i}.jpg"), label=label) for i, label in enumerate(labels))
    return SampleSet("made", "val", ("MEL", "SBK", "NEV"), made)


def _answers(mel: list[float], jaccards: list[float | None]) -> list[ImageScore]:
    overlaps = [None if j is None else round(100 * j) for j in jaccards]
    masks = [None if tp is None else Confusion(tp, 100 - tp, 0, 0) for tp in overlaps]
    return [
        ImageScore(
            str(i),
            fine=mask,
            probabilities=(p, 0.6 * (1 - p), 0.4 * (1 - p)),
            verdict=Verdict("MEL" if p > 0.375 else "SBK", p >= 0.5, p >= 0.12),
        )
        for i, (p, mask) in enumerate(zip(mel, masks, strict=True))
    ]


def test_cost_counts_what_was_lost(spec: CascadeSpec) -> None:
    samples = _samples([0, 0, 1, 2])
    exact = _answers([0.9, 0.6, 0.2, 0.1], [0.8, 0.8, 0.6, None])
    given = _answers([0.9, 0.15, 0.2, 0.1], [0.8, 0.7, 0.7, None])
    cost = cost_of(given, exact, samples, spec, {"MEL": [0, 1], "others": [2, 3], "none": [3]})
    assert cost.jaccard == pytest.approx(0.0)
    # Of four pairs of melanoma and other, one is the wrong way round now.
    assert cost.auc["MEL"] == pytest.approx(0.25)
    assert cost.flips == {"label": 0.25, "decision": 0.25, "referral": 0}
    assert cost.melanoma_flips == 1
    assert cost.groups == {"MEL": pytest.approx(0.05), "others": pytest.approx(-0.1)}


def test_every_part_of_a_verdict_counts(spec: CascadeSpec) -> None:
    samples = _samples([0, 1])
    exact = _answers([0.52, 0.1], [1, 1])
    given = cost_of(_answers([0.48, 0.13], [1, 1]), exact, samples, spec, {})
    assert given.flips == {"label": 0, "decision": 0.5, "referral": 0.5}
    assert given.melanoma_flips == 1
    same = cost_of(_answers([0.98, 0.1], [1, 1]), exact, samples, spec, {})
    assert not any(same.flips.values())
    assert "decisions 0.0% (0.0% to 65.8%)" in same.flips_in_words()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"jaccard": 0.006}, "Jaccard lost 0.006 over 0.005"),
        ({"auc": {"MEL": 0.0, "SBK": 0.02}}, "AUC lost, SBK 0.02 over 0.005"),
        ({"flips": {"label": 0.02}}, "labels changed 0.02 over 0.01"),
        ({"flips": {"decision": 0.02}}, "decisions changed 0.02 over 0.01"),
        ({"flips": {"label": 0, "referral": 0.02}}, "referrals changed 0.02 over 0.01"),
        ({"melanoma_flips": 1}, "melanomas changed 1 over 0"),
        ({"groups": {"tan skin": 0.011}}, "Jaccard lost, tan skin 0.011 over 0.01"),
    ],
)
def test_every_limit_of_the_budget_is_held(changed: dict[str, object], said: str) -> None:
    flips = {"label": 0.01}
    within = {"jaccard": 0.004, "auc": {"MEL": 0.004}, "flips": flips, "melanoma_flips": 0}
    assert Cost(**within).misses(Budget()) == []  # type: ignore[arg-type]
    assert Cost(**{**within, **changed}).misses(Budget()) == [said]  # type: ignore[arg-type]


def test_a_summary_has_the_sign_of_what_happened() -> None:
    cost = Cost(jaccard=0.0012, auc={"MEL": -0.002}, flips={"decision": 0.015}, melanoma_flips=0)
    assert cost.summary() == "Jaccard -0.0012, AUC MEL +0.0020, decisions changed 1.5%"


def test_gains_and_systems_without_masks_are_no_miss() -> None:
    cost = Cost(jaccard=None, auc={"MEL": -0.1}, flips={}, melanoma_flips=0)
    assert cost.misses(Budget()) == []


def test_answers_and_groups_of_a_data_set(tiny_bundle: Path, tmp_path: Path) -> None:
    write_isic2017(tmp_path, num_train=0, num_val=36, side_px=48, seed=1)
    samples = read_split(tmp_path, "val")
    groups = groups_of(samples)
    for size in ("small", "middle", "large"):
        assert len(groups[f"{size} lesions"]) == 12
    assert all(len(images) >= 10 for images in groups.values())
    told: list[tuple[int, int]] = []
    with Cascade.load(tiny_bundle, "onnxruntime") as cascade:
        scores = answer(cascade.predict, samples, lambda *step: told.append(step))
    for score, sample in zip(scores, samples.samples, strict=True):
        assert (score.id, score.label) == (sample.id, sample.label)
        assert score.fine is not None
        assert score.coarse is not None
        assert score.probabilities is not None
        assert sum(score.probabilities) == pytest.approx(1.0, abs=1e-5)
    assert told[-1] == (36, 36)


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((245, 225, 210), "very light skin"),
        ((205, 160, 125), "intermediate skin"),
        ((110, 70, 45), "dark skin"),
    ],
)
def test_skin_tone_is_that_of_the_skin_around_the_lesion(
    rgb: tuple[int, int, int], name: str
) -> None:
    image_HWC = np.zeros((80, 100, 3), np.uint8)
    image_HWC[:, 10:] = rgb  # a black rim on the left
    lesion_HW = np.zeros((80, 100), bool)
    lesion_HW[30:50, 40:60] = True
    image_HWC[lesion_HW] = (60, 20, 10)
    angle = typology_angle(image_HWC, lesion_HW)
    assert angle is not None
    assert tone_of(angle) == name


def test_no_skin_no_tone() -> None:
    image_HWC = np.full((64, 64, 3), 200, np.uint8)
    assert typology_angle(image_HWC, np.ones((64, 64), bool)) is None
    assert typology_angle(np.zeros_like(image_HWC), np.zeros((64, 64), bool)) is None
