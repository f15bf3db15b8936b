"""Robustness and groups of a trained run: `ckd-train evaluate --corruptions` and `--groups`."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("torch")

from deciding import deciding_sections
from findings import tiny_spec
from PIL import Image
from typer.testing import CliRunner

from ckd.contract.errors import InputError, UsageError
from ckd.contract.fitted_sections import write_fitted
from ckd.data.corruptions import CORRUPTIONS
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet
from ckd.data.synthetic.write import write_isic2017
from ckd.scores.estimates import LEAST
from ckd.train.cli import cli
from ckd.train.evaluation import evaluate, plots, robustness
from ckd.train.evaluation.judge import Judge
from ckd.train.evaluation.robustness import measure_robustness, spread
from ckd.train.evaluation.robustness_report import kind_table, robustness_dict, summaries
from ckd.train.evaluation.scoring import score_image
from ckd.train.evaluation.views import image_logits
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.fitting import run_folder
from ckd.train.fitting.identity import describe
from ckd.train.fitting.run_folder import digests_of
from ckd.train.recipes.ckdnet import ckdnet_tiny

if TYPE_CHECKING:
    from ckd.train.systems.graph import System


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("isic2017")
    write_isic2017(root, num_train=0, num_val=16, side_px=64, seed=2)
    return root


@pytest.fixture(scope="module")
def val(data: Path) -> SampleSet:
    return read_split(data, "val")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, val: SampleSet) -> Path:
    """What a run folder says of itself; its networks are put in by `ckd_train`."""
    folder = tmp_path_factory.mktemp("runs") / "RUN"
    folder.mkdir()
    ckdnet_tiny().save(folder / "recipe.json")
    (folder / "data.json").write_text(json.dumps(describe(val, None)))
    return folder


@pytest.fixture(scope="module")
def sections(tmp_path_factory: pytest.TempPathFactory, run: Path) -> Path:
    """As `ckd-train sections` writes them: a third is about what the tiny networks always say."""
    folder = tmp_path_factory.mktemp("sections")
    made = deciding_sections(
        tiny_spec(), at_least={"screening": 0.33, "balanced": 0.5, "specific": 0.9}
    )
    write_fitted(folder, {name: one.content for name, one in made.items()}, digests_of(run))
    return folder


@pytest.fixture(scope="module")
def system(make_tiny_system: "Callable[..., System]") -> "System":
    """The networks of the tiny bundle, which no recipe builds."""
    return make_tiny_system().eval()


@pytest.fixture
def ckd_train(system: "System", run: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Calls the command on a run with these networks; gives its output."""
    monkeypatch.setattr(run_folder, "load_run", lambda run, teacher: (ckdnet_tiny(), system))

    def call(*words: Any) -> str:
        words = tuple(run if word == "RUN" else word for word in words)
        command = [str(word) for word in ("evaluate", *words, "--accelerator", "cpu")]
        return CliRunner().invoke(cli, command, catch_exceptions=False).stdout

    return call


def test_an_undamaged_photograph_is_scored_as_ever(system: "System", val: SampleSet) -> None:
    judge = Judge(system)
    measured = measure_robustness(judge, spread(val, 3), ["blur"])
    for number, (sample, logits) in enumerate(
        image_logits(system, spread(val, 3).samples, "1", Augmentation())
    ):
        score = score_image(system, logits, sample)
        assert score.fine is not None
        rows = np.array([number])
        jaccard = measured.undamaged.value("jaccard", rows)
        assert jaccard == pytest.approx(score.fine.jaccard, abs=1e-6)
    assert [(s.kind, s.grade) for s in measured.settings] == [("blur", g) for g in range(1, 6)]


def test_large_photographs_are_damaged_at_a_working_size(
    val: SampleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robustness, "WORKING_PX", 32)
    image_HWC, truth_HW = robustness.working_copy(val.samples[0])
    assert image_HWC.shape == (32, 32, 3)
    assert truth_HW is not None
    assert val.samples[0].mask is not None
    whole_HW = np.asarray(Image.open(val.samples[0].mask)) > 128
    assert truth_HW.mean() == pytest.approx(whole_HW.mean(), abs=0.03)


def test_samples_are_spread_evenly(val: SampleSet) -> None:
    assert [s.id for s in spread(val, 4).samples] == [val.samples[n].id for n in (0, 5, 10, 15)]
    assert spread(val, None) is val
    assert spread(val, 99) is val


def test_damage_is_told_with_decisions_and_repeats(
    ckd_train: Callable[..., str], data: Path, sections: Path, tmp_path: Path
) -> None:
    words = ("RUN", "--data", data, "--corruptions", "--kinds", "noise", "--sections", sections)
    told = json.loads(ckd_train(*words, "--out", tmp_path / "a", "--json"))
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "corruptions.json", "corruptions.csv", "corruptions.md", "corruptions.png",
        "corruptions_sheet.png",
    }  # fmt: skip
    for name in ("corruptions.png", "corruptions_sheet.png"):
        with Image.open(tmp_path / "a" / name) as picture:
            assert min(picture.size) > 300
    assert json.loads((tmp_path / "a" / "corruptions.json").read_text()) == told
    assert (told["operating_point"], told["target"], told["num_images"]) == ("screening", "MEL", 16)
    assert [one["strength"] for one in told["settings"]] == [*CORRUPTIONS["noise"].strengths]
    jaccards = [one["jaccard"] for one in told["settings"]]
    summary = told["summary"]["jaccard"]
    assert summary["mean"]["value"] == pytest.approx(np.mean(jaccards))
    assert summary["worst"]["value"] == min(jaccards)
    assert summary["worst_at"] == {"kind": "noise", "grade": 1 + int(np.argmin(jaccards))}
    assert summary["mean"]["interval_95"][0] < np.mean(jaccards) < summary["mean"]["interval_95"][1]
    referred = [one["referred"] for one in told["settings"]]
    assert told["summary"]["referred"]["worst"]["value"] == max(referred)
    with (tmp_path / "a" / "corruptions.csv").open(newline="") as file:
        assert [float(row["jaccard"]) for row in csv.DictReader(file)] == jaccards
    card = (tmp_path / "a" / "corruptions.md").read_text()
    assert "decided at the operating point screening, MEL from 0.330 on." in card
    assert f"| noise | {CORRUPTIONS['noise'].meaning} | 8, 16, 28, 44, 64 |" in card


def test_without_sections_decisions_are_not_assessed(
    ckd_train: Callable[..., str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "save", lambda figure, path, dpi=0: path.touch())
    words = ("RUN", "--data", data, "--corruptions", "--kinds", "crop, gamma", "--images", 6)
    text = ckd_train(*words, "--out", tmp_path)
    lines = [line.split() for line in text.splitlines()]
    assert "6 images, single view; without rules for decisions." in text
    assert ["sensitivity", *3 * ["not", "assessed"]] in lines
    assert ["referred", *3 * ["not", "assessed"]] in lines
    assert [line[0] for line in lines[-2:]] == ["gamma", "crop"]  # in the order of all tables
    told = json.loads((tmp_path / "corruptions.json").read_text())
    assert told["operating_point"] is None
    assert {one["referred"] for one in told["settings"]} == {None}
    assert {one["grade"] for one in told["settings"]} == {1, 2, 3, 4, 5}


def test_mean_and_worst_are_over_kinds_and_grades(system: "System", val: SampleSet) -> None:
    measured = measure_robustness(Judge(system), val, ["blur", "exposure"])
    by_kind = {
        kind: [
            one["jaccard"]
            for one in robustness_dict(measured, ())["settings"]
            if one["kind"] == kind
        ]
        for kind in ("blur", "exposure")
    }
    jaccard = next(one for one in summaries(measured) if one.figure == "jaccard")
    everything = [*by_kind["blur"], *by_kind["exposure"]]
    assert jaccard.mean is not None
    assert jaccard.worst is not None
    assert jaccard.mean.value == pytest.approx(np.mean(everything))
    assert jaccard.worst.value == min(everything)
    head, rows = kind_table(measured)
    column = head.index("fine Jaccard")
    for kind, row in zip(("blur", "exposure"), rows, strict=True):
        values = by_kind[kind]
        assert (row[0], row[column]) == (kind, f"{np.mean(values):.3f} / {min(values):.3f}")


def test_groups_are_told_beside_the_scores(
    ckd_train: Callable[..., str], data: Path, sections: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(plots, "save", lambda figure, path, dpi=0: path.touch())
    monkeypatch.setattr(evaluate, "images_to_explain", lambda evaluation: {})  # takes longest
    words = ("RUN", "--data", data, "--out", tmp_path, "--json")
    told = json.loads(ckd_train(*words, "--groups", "--sections", sections))
    written = json.loads((tmp_path / "groups.json").read_text())
    assert written["groups"] == told["groups"]
    everything, *groups = told["groups"]
    assert (everything["name"], everything["count"]) == ("all images", 16)
    fine = told["segmentation"]["fine"]["jaccard"]
    assert everything["jaccard"]["value"] == pytest.approx(fine, abs=1e-6)
    assert everything["target_auc"] is None  # of four melanomas
    assert everything["specificity"]["count"] == 12
    for group in groups:
        assert (group["jaccard"] is None) is (group["count"] < LEAST)
        assert (group["referred"] is None) is (group["count"] < LEAST)
    assert {group["kind"] for group in groups} == {"label", "lesion size", "skin tone", "hair"}
    with (tmp_path / "groups.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert all(0 < float(row["lesion_share"]) < 1 for row in rows)
    assert any(row["ita_degrees"] for row in rows)
    assert "| all images | 16 |" in (tmp_path / "groups.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--kinds", "blur"), "give --corruptions with it"),
        (("--corruptions", "--kinds", "fog"), "no corruption 'fog': expected some of colour, gam"),
        (("--corruptions", "--groups"), "run it and --corruptions in turn"),
        (("--groups", "--views", "paper"), "take a single view"),
        (("--sections", "x"), "give one of them"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    ckd_train: Callable[..., str], data: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ckd_train("RUN", "--data", data, *words)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "sections.json is not there; `ckd-train sections` fits"),
        ("{", "sections.json: damaged"),
        ('{"points": {"content": {}}}', "sections.json: damaged"),
        (
            '{"source": SOURCE, "points": {"informative": false, "content": {}}}',
            "section points: it holds nothing",
        ),
    ],
)
def test_sections_that_cannot_be_used_are_refused(
    system: "System", run: Path, tmp_path: Path, change: str | None, message: str
) -> None:
    if change is not None:
        change = change.replace("SOURCE", json.dumps(digests_of(run)))
        (tmp_path / "sections.json").write_text(change)
    with pytest.raises(InputError, match=message):
        Judge(system, tmp_path, digests_of(run))


def test_sections_of_other_networks_are_refused(
    system: "System", run: Path, sections: Path, tmp_path: Path
) -> None:
    tree = json.loads((sections / "sections.json").read_text())
    own = {**digests_of(run), "weights_digest": system.digest()}
    tree["source"] = own
    (tmp_path / "sections.json").write_text(json.dumps(tree))
    Judge(system, tmp_path, digests_of(run))
    for name in own:
        tree["source"] = {**own, name: "b" * 64}
        (tmp_path / "sections.json").write_text(json.dumps(tree))
        said = rf"networks whose {name.replace('_', ' ')} is bbbbbbbbbbbb\.\.\., and that of .* is"
        with pytest.raises(InputError, match=said):
            Judge(system, tmp_path, digests_of(run))
    for source in ({}, {"recipe_digest": own["recipe_digest"]}):
        tree["source"] = source
        (tmp_path / "sections.json").write_text(json.dumps(tree))
        with pytest.raises(InputError, match="says not of which networks, as an earlier ckd wrote"):
            Judge(system, tmp_path, digests_of(run))


def test_doubts_that_need_a_file_say_so(
    system: "System", run: Path, sections: Path, tmp_path: Path
) -> None:
    tree = json.loads((sections / "sections.json").read_text())
    tree["refer"]["content"]["unlike_above"] = 4.0
    (tmp_path / "sections.json").write_text(json.dumps(tree))
    with pytest.raises(InputError, match=r"training_features.npz cannot be read"):
        Judge(system, tmp_path, digests_of(run))
