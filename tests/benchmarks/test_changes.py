"""What a new bundle says otherwise than the old one, image by image."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from ckd.benchmarks.changes import Change, changes, write_changes
from ckd.contract.bundle import Bundle
from ckd.contract.confusion import Confusion
from ckd.contract.errors import UsageError
from ckd.data.samples import Sample, SampleSet
from ckd.finding.verdict import Verdict
from ckd.scores.images import ImageScore
from ckd.train.evaluation.summary import Evaluation, summarised


def mask(hits: int) -> Confusion:
    """A mask of 10 pixels of which so many are right, so that Jaccard is hits / (20 - hits)."""
    return Confusion(tp=hits, fp=10 - hits, fn=10 - hits, tn=100)


def score(name: str, label: int | None, *probabilities: float, hits: int = 10) -> ImageScore:
    """The most probable label; flagged from half on, referred from a third on."""
    top = ("MEL", "SBK", "NEV")[probabilities.index(max(probabilities))]
    verdict = Verdict(top, probabilities[0] >= 0.5, probabilities[0] >= 1 / 3)
    return ImageScore(name, mask(hits), None, probabilities, label, verdict)


BEFORE = (
    score("a", 0, 0.2, 0.1, 0.7),
    score("b", 0, 0.6, 0.1, 0.3),
    score("c", 2, 0.3, 0.1, 0.6, hits=10),
    score("d", None, 0.44, 0.1, 0.46),
)
AFTER = (
    score("a", 0, 0.55, 0.05, 0.4),  # a melanoma is seen
    score("b", 0, 0.3, 0.1, 0.6),  # and one is lost
    score("c", 2, 0.3, 0.1, 0.6, hits=5),
    score("d", None, 0.46, 0.1, 0.44),  # no decision, but another label
)


@pytest.fixture
def rows(tiny_bundle: Path) -> list[Change]:
    spec = Bundle(tiny_bundle).spec
    return changes(evaluated(tiny_bundle, BEFORE), evaluated(tiny_bundle, AFTER), (spec, spec))


def evaluated(bundle: Path, images: tuple[ImageScore, ...]) -> Evaluation:
    spec = Bundle(bundle).spec
    samples = SampleSet(
        "set",
        "val",
        spec.labels,
        tuple(Sample(id=s.id, image=Path("absent"), mask=None, label=s.label) for s in images),
    )
    return summarised("r", spec, samples, images, weights="w", tasks=spec.tasks)


def test_changes_are_found(rows: list[Change]) -> None:
    assert [row.image for row in rows if row.is_other_decision] == ["a", "b", "d"]
    a, b, c, _ = rows
    assert a.top == ("NEV", "MEL")
    assert (a.decision, a.referral) == ((False, True), (False, True))
    assert (b.decision, b.referral) == ((True, False), (True, False))
    assert c.mask_moved == pytest.approx(5 / 15 - 1)
    assert a.target == (0.2, 0.55)


def test_both_files_say_what_changed(rows: list[Change], tmp_path: Path) -> None:
    write_changes(rows, ("old", "new"), tmp_path)
    with (tmp_path / "changes.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["image"] for line in lines] == ["a", "b", "c", "d"]
    assert lines[1]["decision_before"] == "yes"
    assert lines[1]["referral_after"] == "no"
    assert lines[2]["jaccard_after"] == "0.333"
    text = (tmp_path / "changes.md").read_text()
    assert "## What changed from old to new" in text
    assert "changed on 3; of the labels 1 became right and 1 became wrong" in text
    assert "masks are better on 0 and worse on 1 images, by 0.1 Jaccard or more on 1." in text
    assert "| a | MEL | NEV -> MEL | no -> yes | no -> yes | 1.000 |" in text
    assert "| c | NEV | NEV | no | no | 1.000 -> 0.333 |" in text


def test_bundles_of_other_labels_are_refused(tiny_bundle: Path) -> None:
    before = evaluated(tiny_bundle, BEFORE)
    spec = Bundle(tiny_bundle).spec
    with pytest.raises(UsageError, match="only bundles of the same labels"):
        changes(before, replace(before, labels=("X", "Y", "Z")), (spec, spec))
