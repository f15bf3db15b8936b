"""Probabilities, points, sets and doubts: what is fitted on answers of known calibration."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from findings import tiny_spec
from made_of import made_of
from numpy.typing import NDArray
from scipy import stats

from ckd.contract.bundle import Bundle
from ckd.contract.errors import InputError
from ckd.contract.labels import ISIC2017
from ckd.contract.spec import Section
from ckd.data.layouts import read_split
from ckd.data.synthetic.write import write_isic2017
from ckd.export.sections import TITLES, write_sections
from ckd.finding.decision import CODES, Decider
from ckd.finding.doubts import FEATURE_FILE, Doubts
from ckd.finding.feature_space import FeatureSpace
from ckd.runtime.verdicts import VERDICTS
from ckd.train.evaluation.held_out import HeldOutAnswers
from ckd.train.fitting.identity import describe, digest
from ckd.train.sections import answered as answered_module
from ckd.train.sections import decision, fit
from ckd.train.sections.decision import Decided
from ckd.train.sections.decision_figures import write_figure
from ckd.train.sections.decision_report import TEXTS, beta_range, held_range
from ckd.train.sections.held import Held
from ckd.train.sections.points import (
    fit_points,
    points_in_turn,
    points_of,
    sets_in_turn,
    sets_of,
)
from ckd.train.sections.probabilities import fit_probabilities, kind_of
from ckd.train.sections.refer import alike, codes_in_turn, codes_of, doubts_of
from ckd.train.systems.graph import System

RECIPE = "a" * 64


COUNT = 1500


def held(
    temperature: float = 1.0, bias: tuple[float, ...] = (0, 0, 0), *, exclusive: bool = True
) -> Held:
    """Photographs whose logits are off by a known temperature and bias."""
    rng = np.random.default_rng(0)
    right_NK = rng.normal(0, 1.5, (COUNT, 3)) + np.array([-0.7, -1.0, 0.6])
    if exclusive:
        noisy_NK = right_NK + rng.gumbel(size=right_NK.shape)
        label_N = noisy_NK.argmax(axis=1)
    else:  # at most one is true, and often none
        drawn_N = rng.random(COUNT)
        chance_NK = 1 / (3 + np.exp(-right_NK))
        label_N = (drawn_N[:, None] > chance_NK.cumsum(axis=1)).sum(axis=1)
        right_NK = np.log(chance_NK / (1 - chance_NK))
    agreement_N = rng.uniform(0, 1, COUNT)
    agreement_N[::50] = np.nan
    return Held(
        labels=ISIC2017,
        is_exclusive=exclusive,
        logits_NK=((right_NK - np.array(bias)) * temperature).astype(np.float32),
        label_N=label_N.astype(np.int64),
        source_N=np.arange(COUNT) // 2,
        agreement_N=agreement_N,
        distance_N=np.sqrt(rng.chisquare(9, COUNT)),
    )


def test_a_known_temperature_is_found_and_no_bias_taken_for_nothing() -> None:
    rule, table = fit_probabilities(held(3.0))
    assert rule.temperatures["fp32"] == pytest.approx(3.0, rel=0.08)
    assert rule.temperatures["int8"] == rule.temperatures["fp32"]
    assert rule.bias_K == (0, 0, 0)
    assert [row.name for row in table] == ["none", "temperature", "temperature and bias"]
    assert table[1].loss < table[0].loss - 0.3


def test_a_known_bias_is_found() -> None:
    rule, table = fit_probabilities(held(2.0, (1.0, 0.5, -1.5)))
    np.testing.assert_allclose(rule.bias_K, (1.0, 0.5, -1.5), atol=0.15)
    assert table[2].loss < table[1].loss - 0.05
    assert sum(rule.prevalence_K) == pytest.approx(1, abs=1e-5)


def test_questions_of_their_own_are_fitted_as_such() -> None:
    table = held(2.0, (0.5, 0.0, -0.5), exclusive=False)
    assert np.count_nonzero(table.label_N == 3) > 300
    rule, _ = fit_probabilities(table)
    assert rule.temperatures["fp32"] == pytest.approx(2.0, rel=0.1)
    np.testing.assert_allclose(rule.bias_K, (0.5, 0.0, -0.5), atol=0.2)
    assert sum(rule.prevalence_K) < 0.8
    points = points_of(table, rule, "SBK")
    assert points.points["screening"].sensitivity >= 0.9
    assert set(codes_of(table, rule, points, None, Doubts())) == {"flagged"}


def test_a_label_that_is_hardly_there_has_no_probability() -> None:
    table = held()
    rows = np.flatnonzero((table.label_N != 1) | (np.arange(COUNT) < 20))
    with pytest.raises(InputError, match="photographs of SBK were held out, expected 10 at least"):
        fit_probabilities(table.only(rows))


def test_points_reach_what_they_promise() -> None:
    table = held(2.0)
    rule, _ = fit_probabilities(table)
    points = points_of(table, rule, "MEL").points
    assert points["screening"].sensitivity >= 0.9
    assert points["specific"].specificity >= 0.95
    youden = [point.sensitivity + point.specificity for point in points.values()]
    assert youden[1] == max(youden)
    cuts = [point.at_least for point in points.values()]
    assert cuts == sorted(cuts)
    # A hair further, and it would not be reached.
    probability_N = rule.probabilities(table.logits_NK)[:, 0]
    targets = np.sort(probability_N[table.truth_NK[:, 0]])
    above = targets[targets > points["screening"].at_least]
    assert np.mean(targets >= np.nextafter(above[0], 1)) < 0.9
    apart = points_in_turn(table, kind_of(rule), "MEL")
    for name, point in apart.items():
        assert (point.targets, point.others) == (points[name].targets, points[name].others)
        assert point.sensitivity == pytest.approx(points[name].sensitivity, abs=0.04)


def test_sets_hold_each_label_as_often_as_they_say() -> None:
    table = held(2.0)
    rule, _ = fit_probabilities(table)
    sets = sets_of(table, rule)
    for column, name in enumerate(ISIC2017):
        own_N = rule.probabilities(table.logits_NK)[table.truth_NK[:, column], column]
        assert np.mean(own_N >= sets.at_least[name]) >= 0.9
        assert np.mean(own_N > sets.at_least[name] + 1e-5) < 0.9 + 2 / len(own_N)
    for row in sets_in_turn(table, kind_of(rule)):
        low, high = stats.binomtest(row.held, row.total).proportion_ci(0.99)
        assert low <= 0.9 <= high
        assert 1 <= row.mean_size <= 3


def test_a_label_of_too_few_photographs_is_in_every_set() -> None:
    table = held()
    few = table.only(np.flatnonzero(table.label_N != 1)[:200])
    few = Held(
        ISIC2017, True, few.logits_NK, np.where(np.arange(200) < 5, 1, few.label_N),
        few.source_N, few.agreement_N, few.distance_N,
    )  # fmt: skip
    rule, _ = fit_probabilities(table)
    assert sets_of(few, rule).at_least["SBK"] == 0
    assert beta_range(5, 0.1) == (1, 1)
    assert held_range(5, 7, 0.1) == (7, 7)


def test_referral_is_decided_as_the_runtime_decides() -> None:
    table = held(2.0)
    rule, _ = fit_probabilities(table)
    points, sets = points_of(table, rule, "MEL"), sets_of(table, rule)
    doubts = doubts_of(table, None)
    assert doubts.masks_agree == pytest.approx(0.01, abs=0.005)
    assert doubts.unlike_above is None
    codes = codes_of(table, rule, points, sets, doubts)
    made: dict[str, Any] = {"probabilities": rule, "points": points, "sets": sets, "refer": doubts}
    sections = {name: Section(part.as_content()) for name, part in made.items()}
    decider = Decider(replace(tiny_spec(), sections=sections), lambda name: b"")
    for row in range(0, COUNT, 37):
        said = rule.probabilities(table.logits_NK[row])
        quality = {"mask_agreement": table.agreement_N[row]}
        if np.isnan(table.agreement_N[row]):
            quality = {}
        given = decider.decision(dict(zip(ISIC2017, said.tolist(), strict=True)), quality, None)
        assert given is not None
        assert given.reasons == tuple(code for code in CODES if code in codes and codes[code][row])
    apart = codes_in_turn(table, kind_of(rule), "MEL", doubts)
    assert np.mean(apart["flagged"] == codes["flagged"]) > 0.97


def decided(table: Held) -> Decided:
    rule, compared = fit_probabilities(table)
    fitted = kind_of(rule)
    space = FeatureSpace.fitted(np.random.default_rng(0).normal(size=(99, 9)).astype(np.float32))
    doubts = doubts_of(table, space)
    assert doubts.unlike_above == pytest.approx(np.sqrt(stats.chi2(9).ppf(0.99)), rel=0.1)
    return Decided(
        held=table, compared=compared, rule=rule,
        points=points_of(table, rule, "MEL"), points_apart=points_in_turn(table, fitted, "MEL"),
        sets=sets_of(table, rule), sets_apart=sets_in_turn(table, fitted),
        doubts=doubts, codes_apart=codes_in_turn(table, fitted, "MEL", doubts),
        num_folds=3, was_shipped=True, unlike={"cloth": [9.0, 10.0, 1.0]},
    )  # fmt: skip


def test_the_card_says_how_well_it_is_done(tmp_path: Path) -> None:
    all_of_it = decided(held(2.0, (1.0, 0.5, -1.5)).only(np.arange(400)))
    texts = {name: text(all_of_it) for name, text in TEXTS.items()}
    assert "| temperature and bias (taken) | " in texts["probabilities"]
    assert "| screening | " in texts["points"]
    assert "PPV and NPV are those at a prevalence of 0.2%, 2.0%, 10.0%, " in texts["points"]
    assert "| MEL | " in texts["sets"]
    assert "| cloth | 3 | 66.7% (9.4% to 99.2%) | " in texts["refer"]
    assert "**Many are referred" not in texts["refer"]
    many = replace(all_of_it, codes_apart={"flagged": np.arange(400) % 3 > 0})
    assert TEXTS["refer"](many).startswith("**Many are referred: 66.5% of 400 photographs")
    for name in ("probabilities", "points", "refer"):
        write_figure(name, all_of_it, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_the_range_of_what_sets_hold() -> None:
    # As the literature has them for one hundred photographs and an error rate of a tenth.
    assert beta_range(100, 0.1) == pytest.approx((0.848, 0.945), abs=2e-3)


def test_counts_of_a_point_are_of_its_threshold_as_it_is_written() -> None:
    """Thresholds are rounded; two probabilities may lie closer than their last digit."""
    rng = np.random.default_rng(0)
    said_N = (0.5 + rng.integers(0, 400, 3000) * 1e-7).astype(np.float32)
    target_N = rng.random(3000) < 0.3
    points = fit_points(said_N, target_N)
    exact_N = said_N.astype(np.float64)  # as the runtime compares
    for point in points.values():
        assert point.at_least == round(point.at_least, 6)
        assert point.found == np.count_nonzero(exact_N[target_N] >= point.at_least)
        assert point.spared == np.count_nonzero(exact_N[~target_N] < point.at_least)


def test_spaces_are_made_alike() -> None:
    rng = np.random.default_rng(0)
    features_ND = (rng.normal(size=(900, 80)) * np.linspace(3, 1, 80)).astype(np.float32)
    few, many = FeatureSpace.fitted(features_ND[:300]), FeatureSpace.fitted(features_ND[:600])
    assert (len(few), len(many)) == (30, 60)
    both = alike([few, many])
    assert [len(space) for space in both] == [30, 30]
    far = [[space.distance(row_D) for row_D in features_ND[600:]] for space in both]
    assert np.mean(far[0]) == pytest.approx(np.mean(far[1]), rel=0.1)
    even = FeatureSpace.fitted(np.ones((30, 4), np.float32))
    assert even.distance(np.ones(4, np.float32)) == 0
    assert np.isfinite(FeatureSpace.unpacked(even.packed(), 4).whitening_CD).all()


@pytest.fixture
def folds(
    make_tiny_system: Callable[[], System], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Two folds of a random system that gave answers of a known kind."""
    write_isic2017(tmp_path / "data", num_train=60, num_val=6, side_px=40, seed=3)
    train_set = read_split(tmp_path / "data", "train")
    samples = train_set.samples
    rng = np.random.default_rng(0)
    weights = make_tiny_system().digest()
    for number in range(2):
        run = tmp_path / "folds" / f"fold{number}"
        run.mkdir(parents=True)
        (run / "recipe.json").write_text("{}")
        own = samples[number::2]
        trained_on = train_set.only(set(train_set.samples).difference(own).__contains__)
        (run / "data.json").write_text(json.dumps(describe(trained_on, None)))
        label_N = np.array([sample.label for sample in own], np.int64)
        logits_NK = rng.normal(size=(len(own), 3)) + 2 * np.eye(3)[label_N]
        masks_NHW = rng.normal(size=(len(own), 32, 32)).astype(np.float16)
        HeldOutAnswers(
            labels=ISIC2017, weights=weights, mask_threshold=0.5, ids=tuple(one.id for one in own),
            label_N=label_N, class_logits_NK=logits_NK.astype(np.float32), features_ND=None,
            mask_logits_NHW=masks_NHW, coarse_logits_NHW=-masks_NHW,
        ).save(run / "answers.npz")  # fmt: skip
    recipe = SimpleNamespace(target_of=lambda labels: labels[0], digest=lambda: RECIPE)
    monkeypatch.setattr(answered_module, "load_run", lambda run: (recipe, make_tiny_system()))
    by_lesion = SimpleNamespace(split_by="lesion")
    monkeypatch.setattr(answered_module, "recipe_of", lambda run: by_lesion)
    monkeypatch.setattr(fit, "LEAST_PHOTOGRAPHS", 60)
    return tmp_path / "folds"


def test_a_bundle_decides_by_what_was_fitted(
    folds: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    data, fitted = tmp_path / "data", tmp_path / "fitted"
    only = ("mask", *decision.DECIDING)
    (folds / "fold2" / "cls").mkdir(parents=True)  # is still in training
    (folds / "fold2" / "recipe.json").write_text("{}")
    shutil.copy(folds / "fold0" / "answers.npz", folds / "fold2" / "cls")
    sections = fit.fit_sections(folds, data, fitted, only, accelerator="cpu")
    assert tuple(sections) == only
    assert "that fold0, fold1 held out." in (fitted / "points.md").read_text()
    assert not (fitted / FEATURE_FILE).exists()
    assert sections["refer"]["content"]["unlike_above"] is None
    assert "`unlike_training` is not judged" in (fitted / "refer.md").read_text()

    new = tmp_path / "new"
    samples = read_split(data, "val")
    source = {"recipe_digest": RECIPE, "data_digest": digest(read_split(data, "train"))}
    exported = Bundle(made_of(tiny_bundle, tmp_path / "exported", source))
    report = write_sections(exported, fitted, new, samples, read_split(data, "train").samples[:5])
    bundle = Bundle(new)
    decider = Decider(bundle.spec, bundle.read)
    assert decider.rule is not None
    assert decider.points is not None
    assert decider.points.as_content() == sections["points"]["content"]
    verdicts = json.loads(bundle.read(VERDICTS))
    assert all(isinstance(verdict["decision"], bool) for verdict in verdicts)
    card = (new / "model_card.md").read_text()
    assert all(f"## {TITLES[name]}\n" in card for name in only)
    for name in ("probabilities", "points", "refer"):
        assert f"![{TITLES[name]}]({name}.png)" in card
        assert (new / f"{name}.png").is_file()
    assert report.decisions is not None
    checked = card[card.index("What this bundle delivers") :]
    assert "| screening | " in checked
    assert "| none | " in checked
    assert "| as fitted | " in checked
    before, after = report.decisions.said
    assert len(before.truth_NK) == len(before.source_N) == len(samples)
    assert (before.probabilities_NK != after.probabilities_NK).any()
    assert set(report.decisions.referred) == {*CODES, "any"} - {"unlike_training"}
    assert set(decider.codes) == {*CODES} - {"unlike_training"}
    assert report.decisions.missed.total == report.decisions.covered["MEL"].total

    (fitted / "corruptions.md").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"corruptions\.md: cannot be read .* --corruptions`"):
        write_sections(bundle, fitted, tmp_path / "mixed")
    (fitted / "corruptions.md").unlink()
    record = json.loads((fitted / "sections.json").read_text())
    alone = {name: record[name] for name in ("source", "mask")}
    (fitted / "sections.json").write_text(json.dumps(alone))
    with pytest.raises(InputError, match="has mask without refer"):
        write_sections(bundle, fitted, tmp_path / "mixed")

    # Points of other probabilities would decide otherwise than they say.
    record["probabilities"]["content"]["bias"] = {"MEL": 1.0, "SBK": 0.0, "NEV": -1.0}
    (fitted / "sections.json").write_text(
        json.dumps({name: record[name] for name in ("source", "probabilities")})
    )
    with pytest.raises(Exception, match="section points: it was fitted on probabilities"):
        write_sections(bundle, fitted, tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()


def test_folds_that_cannot_decide_are_named(folds: Path, tmp_path: Path) -> None:
    answers = HeldOutAnswers.load(folds / "fold1" / "answers.npz")
    other = [*("NEV", "SBK", "MEL")]
    kept: dict[str, Any] = {name: getattr(answers, name) for name in HeldOutAnswers.__slots__}
    HeldOutAnswers(**{**kept, "labels": tuple(other)}).save(folds / "fold1" / "answers.npz")
    with pytest.raises(
        InputError, match="fold1: labels NEV, SBK, MEL, and fold0 has MEL, SBK, NEV"
    ):
        fit.fit_sections(folds, tmp_path / "data", tmp_path / "out", ("points",), accelerator="cpu")
    HeldOutAnswers(**{**kept, "class_logits_NK": None}).save(folds / "fold1" / "answers.npz")
    with pytest.raises(InputError, match="fold1: its networks do not classify"):
        fit.fit_sections(folds, tmp_path / "data", tmp_path / "out", ("points",), accelerator="cpu")


def test_answers_of_other_labels_or_of_one_photograph_twice_are_refused(
    folds: Path, tmp_path: Path
) -> None:
    answers = HeldOutAnswers.load(folds / "fold1" / "answers.npz")
    turned_N = (answers.label_N + 1) % 3
    replace(answers, label_N=turned_N).save(folds / "fold1" / "answers.npz")

    def fitted() -> None:
        fit.fit_sections(folds, tmp_path / "data", tmp_path / "out", ("points",), accelerator="cpu")

    with pytest.raises(InputError, match=rf"{answers.ids[0]} has another label there than in"):
        fitted()
    shutil.copy(folds / "fold0" / "answers.npz", folds / "fold1")
    with pytest.raises(InputError, match=r"fold1: held out ISIC_.*, which fold0 held out, too"):
        fitted()
    assert not (tmp_path / "out").exists()


def test_sections_that_need_another_one_are_not_fitted_alone(
    folds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fitted(*only: str) -> None:
        fit.fit_sections(folds, tmp_path / "data", tmp_path / "out", only, accelerator="cpu")

    with pytest.raises(InputError, match="fit both together, as in --only mask,refer"):
        fitted("probabilities", "refer")
    load_run = vars(answered_module)["load_run"]

    def yes_or_no(run: Path) -> tuple[Any, System]:
        recipe, system = load_run(run)
        system.outputs = replace(system.outputs, exclusive=False)
        return recipe, system

    monkeypatch.setattr(answered_module, "load_run", yes_or_no)
    with pytest.raises(InputError, match="its labels do not exclude each other"):
        fitted("sets")
    assert not (tmp_path / "out").exists()


def test_doubts_without_figures_are_none() -> None:
    table = held()
    blind: NDArray[np.float64] = np.full(COUNT, np.nan)
    nothing = Held(table.labels, True, table.logits_NK, table.label_N, table.source_N, blind, blind)
    assert doubts_of(nothing, None) == Doubts(None, None, None)
