"""Evaluation and cross-validation: what is written down, and that it is true."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from ckd.contract.errors import InputError, UsageError
from ckd.data.folds import split_fold
from ckd.data.layouts import read_split
from ckd.data.samples import Sample, SampleSet, numbered_as
from ckd.data.synthetic.write import write_isic2017
from ckd.picture.folders import photographs_in
from ckd.train.evaluation import plots
from ckd.train.evaluation.evaluate import evaluate
from ckd.train.evaluation.folder import write_folder
from ckd.train.evaluation.held_out import ANSWERS, HeldOutAnswers
from ckd.train.evaluation.learning_curves import learning_curves
from ckd.train.evaluation.scoring import score_image
from ckd.train.fitting import crossvalidate as cv
from ckd.train.fitting.identity import describe
from ckd.train.fitting.options import FitOptions
from ckd.train.fitting.run_folder import RunFolder
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.recipes.recipe import Recipe
from ckd.train.systems.graph import System

RECIPE = ckdnet_tiny()
LABELS = ("MEL", "SBK", "NEV")
FIGURES = ("roc.png", "precision_recall.png", "jaccard.png", "worst_cases.png", "explanations.png")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads cost more than they bring at this size, many times more on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, which takes most of an evaluation's time; files are empty."""
    monkeypatch.setattr(plots, "save", lambda figure, path, dpi=0: path.touch())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("isic2017")
    write_isic2017(root, num_train=12, num_val=9, side_px=72)
    return root


@pytest.fixture(scope="module")
def val(data: Path) -> SampleSet:
    return read_split(data, "val")


@pytest.fixture(scope="module")
def system(val: SampleSet) -> System:
    """Untrained, but with the statistics of the images, so that answers differ between them."""
    torch.manual_seed(0)
    system = RECIPE.system.build(LABELS, RECIPE.tasks, 64, None)
    for module in system.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    images = [np.asarray(Image.open(s.image).resize((64, 64))) for s in val.samples]
    with torch.no_grad():
        system.train()(torch.from_numpy(np.stack(images)))
    return system.eval()


def read_table(out: Path) -> list[dict[str, str]]:
    with (out / "per_image.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def read_scores(out: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((out / "scores.json").read_text(), parse_constant=refuse)


@pytest.mark.usefixtures("not_drawn")
def test_labels_that_a_spreadsheet_would_carry_out_are_marked(
    system: System, val: SampleSet, tmp_path: Path
) -> None:
    evaluation = evaluate(RECIPE, system, val, tmp_path, views="1")
    named = replace(evaluation, labels=("=cmd", "+sum", "@at"))
    write_folder(named, {}, {}, tmp_path)
    rows = read_table(tmp_path)
    assert [*rows[0]][2:5] == ["'=cmd", "'+sum", "'@at"]
    for column in ("label", "top"):
        assert {row[column] for row in rows} <= {"'=cmd", "'+sum", "'@at"}


@pytest.mark.parametrize("views", ["1", "paper"])
def test_everything_is_written_and_agrees(
    system: System, val: SampleSet, tmp_path: Path, views: Any
) -> None:
    told: list[tuple[int, int]] = []
    evaluation = evaluate(
        RECIPE, system, val, tmp_path, views=views, batch_size=4,
        progress=lambda done, of: told.append((done, of)),
    )  # fmt: skip
    assert told == [(n, 9) for n in range(1, 10)]
    assert {path.name for path in tmp_path.iterdir()} == {"scores.json", "per_image.csv", *FIGURES}
    assert photographs_in(tmp_path).left_out == {"result": len(FIGURES)}
    for name in FIGURES:
        with Image.open(tmp_path / name) as figure:
            assert min(figure.size) > 500
            assert len(figure.convert("L").histogram()) == 256

    scores, rows = read_scores(tmp_path), read_table(tmp_path)
    assert scores == json.loads(json.dumps(evaluation.as_dict()))
    assert scores["views"] == views
    assert f"{scores['segmentation']['fine']['jaccard']:.3f}" in evaluation.to_text()
    assert scores["recipe"] == "ckdnet-tiny"
    assert scores["dataset"] == "generated (isic2017 layout)"
    assert (scores["split"], scores["num_images"]) == ("val", 9)
    assert {row["views"] for row in rows} == {views}
    assert [row["id"] for row in rows] == [sample.id for sample in val.samples]
    for row in rows:
        probabilities = {label: float(row[label]) for label in LABELS}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert row["top"] == max(probabilities, key=probabilities.__getitem__)
    for kind, column in (("fine", "jaccard"), ("coarse", "coarse_jaccard")):
        masks = scores["segmentation"][kind]
        assert masks["jaccard"] == pytest.approx(fmean(float(r[column]) for r in rows), abs=1e-5)
        for name in ("jaccard", "threshold_jaccard", "dice"):
            low, high = masks["interval_95"][name]
            assert low <= masks[name] <= high
    intervals = scores["classification"]["interval_95"]
    assert set(intervals) == {"auc_MEL", "auc_SBK", "mean_auc"}
    assert all(0 <= low <= high <= 1 for low, high in intervals.values())


@pytest.mark.usefixtures("not_drawn")
def test_scores_are_those_of_an_independent_computation(
    system: System, val: SampleSet, tmp_path: Path
) -> None:
    evaluate(RECIPE, system, val, tmp_path, views="1")
    probabilities = []
    jaccards: dict[str, list[float]] = {"mask_logits": [], "coarse_logits": []}
    for sample in val.samples:
        image = np.asarray(Image.open(sample.image))
        small = np.asarray(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA))
        with torch.no_grad():
            tensors = system(torch.from_numpy(small)[None])
        probabilities.append(torch.softmax(tensors["logits"][0], 0).numpy())
        assert sample.mask is not None
        truth = np.asarray(Image.open(sample.mask)) > 128
        for name, values in jaccards.items():
            large = nn.functional.interpolate(
                tensors[name], truth.shape, mode="bilinear", align_corners=name == "coarse_logits"
            )[0, 0]
            mask = large.numpy() > 0
            values.append(float((mask & truth).sum() / (mask | truth).sum()))
    scores, rows = read_scores(tmp_path), read_table(tmp_path)
    for column, name in (("jaccard", "mask_logits"), ("coarse_jaccard", "coarse_logits")):
        assert np.ptp(jaccards[name]) > 0.05  # or the comparison would show nothing
        np.testing.assert_allclose([float(r[column]) for r in rows], jaccards[name], atol=0.01)
    labels = np.array([s.label for s in val.samples])
    for k, label in enumerate(LABELS):
        answered = np.array(probabilities)[:, k]
        np.testing.assert_allclose([float(r[label]) for r in rows], answered, atol=1e-4)
        per_label = scores["classification"]["per_label"][label]
        assert per_label["auc"] == pytest.approx(roc_auc_score(labels == k, answered))
        expected = average_precision_score(labels == k, answered)
        assert per_label["average_precision"] == pytest.approx(expected)
    aucs = [scores["classification"]["per_label"][task]["auc"] for task in RECIPE.tasks]
    assert scores["classification"]["mean_auc"] == pytest.approx(fmean(aucs))


@pytest.mark.usefixtures("not_drawn")
def test_images_may_lack_a_mask_or_a_label(system: System, val: SampleSet, tmp_path: Path) -> None:
    for name in ("roc.png", "groups.json"):
        (tmp_path / name).touch()  # of an earlier evaluation
    masks_only = replace(val, samples=tuple(replace(s, label=None) for s in val.samples))
    evaluation = evaluate(RECIPE, system, masks_only, tmp_path, views="1")
    assert read_scores(tmp_path)["classification"] is None
    assert "AUC" not in evaluation.to_text()
    assert not (tmp_path / "roc.png").exists()
    assert not (tmp_path / "groups.json").exists()
    assert (tmp_path / "jaccard.png").exists()
    assert all(row["label"] == "" and row["jaccard"] != "" for row in read_table(tmp_path))

    labels_only = replace(val, samples=tuple(replace(s, mask=None) for s in val.samples))
    evaluate(RECIPE, system, labels_only, tmp_path, views="1")
    assert read_scores(tmp_path)["segmentation"] == {"fine": None, "coarse": None}
    assert not (tmp_path / "jaccard.png").exists()
    assert (tmp_path / "roc.png").exists()
    assert all(row["label"] != "" and row["jaccard"] == "" for row in read_table(tmp_path))
    assert (tmp_path / "worst_cases.png").exists()


@pytest.mark.usefixtures("not_drawn")
def test_a_single_class_has_no_auc(system: System, val: SampleSet, tmp_path: Path) -> None:
    nevi = val.only(lambda sample: sample.label == LABELS.index("NEV"))
    evaluation = evaluate(RECIPE, system, nevi, tmp_path, views="1")
    assert "undefined" in evaluation.to_text()
    scores = read_scores(tmp_path)["classification"]
    assert scores["mean_auc"] is None
    assert {label["auc"] for label in scores["per_label"].values()} == {None}
    assert {tuple(interval) for interval in scores["interval_95"].values()} == {(None, None)}
    assert not (tmp_path / "roc.png").exists()
    assert (tmp_path / "worst_cases.png").exists()


@pytest.mark.usefixtures("not_drawn")
def test_labels_are_matched_by_name(system: System, val: SampleSet, tmp_path: Path) -> None:
    evaluate(RECIPE, system, val, tmp_path / "a", views="1")
    turned = tuple(replace(s, label=2 - (s.label or 0)) for s in val.samples)
    other = replace(val, labels=LABELS[::-1], samples=turned)
    evaluate(RECIPE, system, other, tmp_path / "b", views="1")
    assert read_scores(tmp_path / "a") == read_scores(tmp_path / "b")
    assert read_table(tmp_path / "a") == read_table(tmp_path / "b")
    unknown = replace(val, labels=("BCC", "SBK", "NEV"))
    with pytest.raises(InputError, match="BCC"):
        evaluate(RECIPE, system, unknown, tmp_path / "c", views="1")


def test_what_cannot_be_evaluated_is_refused(
    system: System, val: SampleSet, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="expected one of 1, paper"):
        evaluate(RECIPE, system, val, tmp_path, views="5")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no val images"):
        evaluate(RECIPE, system, val.only(lambda sample: False), tmp_path, views="1")
    assert not any(tmp_path.iterdir())


def save_and_keep(drawn: list[Figure]) -> Callable[[Figure, Path], None]:
    save = plots.save

    def both(figure: Figure, path: Path) -> None:
        drawn.append(figure)
        save(figure, path)

    return both


def test_learning_curves_join_the_logs_of_a_resumed_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RECIPE.save(tmp_path / "recipe.json")
    assert learning_curves(tmp_path) is None
    logs = {
        "rootseg/logs/version_2": "epoch,step,train/loss\n0,4,0.9\n1,9,0.8\n2,14,0.7\n3,1",
        "rootseg/logs/version_10": "epoch,step,train/loss\n2,14,0.6\n3,19,0.5\n",
        "seg/logs/version_0": "epoch,step,train/loss,val/jaccard\n0,4,,0.3\n0,4,0.9,\n1,9,,0.4\n",
    }
    for folder, text in logs.items():
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "metrics.csv").write_text(text)
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "save", save_and_keep(drawn))
    assert learning_curves(tmp_path) == tmp_path / "learning_curves.png"
    assert (tmp_path / "learning_curves.png").stat().st_size > 0
    curves = [np.asarray(line.get_xydata()).tolist() for a in drawn[0].axes for line in a.lines]
    assert curves == [
        [[1, 0.9], [2, 0.8], [3, 0.6], [4, 0.5]],
        [[1, 0.9]],
        [[1, 0.3], [2, 0.4]],
    ]
    assert len(drawn[0].axes) == 3  # nothing stands for the scores that the first one lacks
    shutil.rmtree(tmp_path / "seg")
    learning_curves(tmp_path)
    (only,) = drawn[1].axes
    assert only.get_ylabel() == "training loss"
    assert drawn[1].get_figheight() == drawn[0].get_figheight() / 2


def test_each_score_of_a_joint_stage_has_a_look_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RECIPE.save(tmp_path / "recipe.json")
    names = [f"val/score{number}" for number in range(9)]
    (tmp_path / "seg/logs/version_0").mkdir(parents=True)
    table = f"epoch,{','.join(names)}\n0,{','.join(9 * ['0.5'])}\n"
    (tmp_path / "seg/logs/version_0/metrics.csv").write_text(table)
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "save", save_and_keep(drawn))
    learning_curves(tmp_path)
    looks = {(line.get_color(), line.get_linestyle()) for line in drawn[0].axes[1].lines}
    assert len(looks) == 9


@pytest.fixture
def fake_fit(system: System, monkeypatch: pytest.MonkeyPatch) -> list[FitOptions]:
    """Leaves a run folder without training; returns the options it was called with."""
    calls: list[FitOptions] = []

    def fit(
        recipe: Recipe, data: Path, out: Path, options: FitOptions, callbacks: Sequence[Any] = ()
    ) -> System:
        calls.append(options)
        assert options.fold is not None
        train_set, _ = split_fold(read_split(data, "train"), *options.fold, seed=recipe.seed)
        fresh = recipe.stages if options.fresh else ()
        folder = RunFolder(out)
        folder.open(recipe, describe(train_set, options.weights), fresh)
        for stage in recipe.stages:
            folder.stage(stage).keep({})
        return system

    monkeypatch.setattr(cv, "fit_alone", fit)
    return calls


@pytest.mark.usefixtures("not_drawn")
def test_folds_are_trained_once_and_summed_up(
    data: Path, tmp_path: Path, system: System, fake_fit: list[FitOptions]
) -> None:
    options = FitOptions(weights=None, accelerator="cpu")

    def run(**changes: Any) -> dict[str, Any]:
        return cv.crossvalidate(RECIPE, data, tmp_path, options, **{"folds": 3, **changes})

    first = run(only=[1])
    assert [fold["fold"] for fold in first["per_fold"]] == [1]
    assert first["std"]["fine_jaccard"] is None
    assert "1 of 3 folds" in cv.summary_text(first)
    told: list[int] = []
    summary = run(progress=lambda *numbers: told.extend(numbers))
    assert told == [1, 3, 2, 3, 3, 3]
    assert [call.fold for call in fake_fit] == [(1, 3), (0, 3), (2, 3)]
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert run() == summary
    assert len(fake_fit) == 3

    held_out = [row["id"] for k in range(3) for row in read_table(tmp_path / f"fold{k}/evaluation")]
    assert sorted(held_out) == [sample.id for sample in read_split(data, "train").samples]
    for k in range(3):
        assert_answers_are_those_scored(tmp_path / f"fold{k}", data, system)
    (tmp_path / "fold1" / ANSWERS).unlink()  # as in a fold of an earlier version
    assert run() == summary
    assert [call.fold for call in fake_fit[3:]] == [(1, 3)]  # which finds all its stages trained
    del fake_fit[3:]
    for name in ("fine_jaccard", "coarse_jaccard", "auc_MEL", "auc_SBK", "mean_auc"):
        values = [fold[name] for fold in summary["per_fold"]]
        assert summary["mean"][name] == pytest.approx(fmean(values))
        assert summary["std"][name] == pytest.approx(stdev(values))
    assert summary["views"] == "1"
    assert len({len(line) for line in cv.summary_text(summary).splitlines()[1:]}) == 1

    with pytest.raises(UsageError, match="fold of other images"):
        run(folds=2)
    other = replace(options, weights="imagenet")
    with pytest.raises(UsageError, match="fold of other starting weights"):
        cv.crossvalidate(RECIPE, data, tmp_path, other, folds=3)
    cv.crossvalidate(RECIPE, data, tmp_path, replace(other, fresh=True), folds=3)
    assert len(fake_fit) == 6
    with pytest.raises(UsageError, match="fold of other settings"):
        cv.crossvalidate(replace(RECIPE, tasks=("MEL",)), data, tmp_path, options, folds=3)


def assert_answers_are_those_scored(fold: Path, data: Path, system: System) -> None:
    """Logits, numbers of labels and masks that are kept give what stands in the table."""
    answers, rows = HeldOutAnswers.load(fold / ANSWERS), read_table(fold / "evaluation")
    assert answers.ids == tuple(row["id"] for row in rows)
    assert answers.features_ND is not None
    assert answers.features_ND.shape == (len(rows), 1280)
    assert answers.class_logits_NK is not None
    probabilities = torch.softmax(torch.from_numpy(answers.class_logits_NK.copy()), dim=1)
    samples = {sample.id: sample for sample in read_split(data, "train").samples}
    assert answers.mask_logits_NHW is not None
    assert answers.coarse_logits_NHW is not None
    for number, row in enumerate(rows):
        assert answers.labels[answers.label_N[number]] == row["label"]
        assert [float(row[label]) for label in answers.labels] == pytest.approx(
            probabilities[number].tolist(), abs=1e-6
        )
        maps = {
            "mask_logits": answers.mask_logits_NHW[number][None].astype(np.float32),
            "coarse_logits": answers.coarse_logits_NHW[number][None].astype(np.float32),
        }
        score = score_image(system, maps, samples[row["id"]])
        assert score.fine is not None
        assert score.coarse is not None
        # Kept in half precision: logits of an untrained network lie close to the threshold.
        assert score.fine.jaccard == pytest.approx(float(row["jaccard"]), abs=2e-3)
        assert score.coarse.jaccard == pytest.approx(float(row["coarse_jaccard"]), abs=2e-3)


REFUSED: list[tuple[Callable[[FitOptions], FitOptions], dict[str, Any], str]] = [
    (lambda options: options, {"folds": 1}, "at least 2"),
    (lambda options: options, {"folds": 3, "only": [3]}, "no fold 3"),
    (lambda options: replace(options, stage="cls"), {"folds": 3}, "all stages"),
    (lambda options: replace(options, devices=2), {"folds": 3}, "one process"),
]


@pytest.mark.parametrize(("change", "numbers", "message"), REFUSED)
def test_folds_that_make_no_sense_are_refused(
    data: Path,
    tmp_path: Path,
    change: Callable[[FitOptions], FitOptions],
    numbers: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message):
        cv.crossvalidate(RECIPE, data, tmp_path, change(FitOptions()), **numbers)


def test_labels_are_numbered_as_the_systems_are() -> None:
    samples = SampleSet(
        "s", "val", ("NEV", "MEL", "SBK"),
        tuple(Sample(str(i), Path(), label=label) for i, label in enumerate((0, 1, 2, None))),
    )  # fmt: skip
    numbered = numbered_as(("MEL", "SBK", "NEV"), samples)
    assert [s.label for s in numbered.samples] == [2, 0, 1, None]
    none_of = numbered_as(("MEL", "SBK"), samples, exclusive=False)
    assert [s.label for s in none_of.samples] == [2, 0, 1, None]
    assert none_of.class_counts() == (1, 1)
    # Numbered again, an image of none stays one.
    assert numbered_as(("SBK",), none_of, exclusive=False).samples[0].label == 1
    with pytest.raises(InputError, match="holds images of NEV, but the system only knows MEL"):
        numbered_as(("MEL", "SBK"), samples)
